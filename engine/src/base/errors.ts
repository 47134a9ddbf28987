/**
 * The one error class. A message says what happened with the actual values, lower-case and without a full stop; the hint
 * says what to do now; the code is stable (see error-codes.ts). Invariant: whatever leaves a public function is one of these.
 */
import { type ErrorCode, errorCodes } from './error-codes.ts';

interface ErrorExtras {
  readonly hint?: string;
  readonly cause?: unknown;
  /** Values for machines: names, sizes, positions. Never a secret. */
  readonly context?: Readonly<Record<string, unknown>>;
}

export class HelvinoError extends Error {
  readonly code: ErrorCode;
  readonly hint: string;
  /** Undefined where `hint` is that of the code. */
  readonly ownHint: string | undefined;
  readonly context: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, extras: ErrorExtras = {}) {
    super(message, extras.cause === undefined ? undefined : { cause: extras.cause });
    this.name = 'HelvinoError';
    this.code = code;
    this.ownHint = extras.hint;
    this.hint = extras.hint ?? errorCodes[code].hint;
    this.context = extras.context ?? {};
  }

  get exit(): number {
    return errorCodes[this.code].exit;
  }

  get retry(): boolean {
    return errorCodes[this.code].retry;
  }

  toJSON(): Record<string, unknown> {
    return {
      code: this.code,
      message: this.message,
      hint: this.hint,
      retry: this.retry,
      context: this.context,
    };
  }
}

/**
 * Any thrown value as a HelvinoError: ours pass through, what a PostgreSQL server answered is that, anything else is a bug until a caller
 * has classified it.
 */
export function asHelvinoError(thrown: unknown): HelvinoError {
  if (thrown instanceof HelvinoError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const sqlstate = systemCode(thrown);
  if (sqlstate !== undefined && /^[0-9A-Z]{5}$/.test(sqlstate) && hasSeverity(thrown))
    return new HelvinoError('SERVER_ERROR', message, { cause: thrown, context: { sqlstate } });
  return new HelvinoError('INTERNAL', message, { cause: thrown });
}

/** As pg's DatabaseError, which has the fields of https://www.postgresql.org/docs/current/protocol-error-fields.html */
function hasSeverity(thrown: unknown): boolean {
  return typeof (thrown as { severity?: unknown }).severity === 'string';
}

/** The `code` of a Node.js system error (`ENOSPC`, `ECONNREFUSED` …), or undefined. */
export function systemCode(thrown: unknown): string | undefined {
  const code = (thrown as { code?: unknown } | null | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** Which code a system error has that came up where something is written for the user: no rights, no room, or anything else. */
export function targetCode(thrown: unknown): 'TARGET_DENIED' | 'TARGET_TOO_SMALL' | 'TARGET_IO' {
  const code = systemCode(thrown) ?? '';
  if (['EACCES', 'EPERM', 'EROFS'].includes(code)) return 'TARGET_DENIED';
  return ['ENOSPC', 'EDQUOT'].includes(code) ? 'TARGET_TOO_SMALL' : 'TARGET_IO';
}

/** For a file that a user asked for. */
export function cannotWrite(file: string, cause: unknown, hint?: string): HelvinoError {
  const message = `${file} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`;
  return new HelvinoError(targetCode(cause), message, hint === undefined ? { cause } : { cause, hint });
}

/** What work that `signal` stopped throws: INTERRUPTED. */
export function interrupted(signal: AbortSignal): HelvinoError {
  if (signal.reason instanceof HelvinoError) return signal.reason;
  return new HelvinoError('INTERRUPTED', 'stopped on request', { cause: signal.reason });
}
