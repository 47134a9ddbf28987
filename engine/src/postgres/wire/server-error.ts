/**
 * What a server's ErrorResponse means for us. Fields: https://www.postgresql.org/docs/current/protocol-error-fields.html,
 * SQLSTATEs: https://www.postgresql.org/docs/current/errcodes-appendix.html
 */
import type { ErrorCode } from '../../base/error-codes.ts';
import { HelvinoError } from '../../base/errors.ts';

export interface ServerMessage {
  /** `ERROR`, `FATAL`, `WARNING` …, never translated. */
  readonly severity: string;
  /** SQLSTATE. */
  readonly code: string;
  readonly message: string;
  readonly detail?: string;
  readonly hint?: string;
}

const codes: Readonly<Record<string, ErrorCode>> = {
  '28P01': 'SERVER_AUTH',
  '28000': 'SERVER_AUTH',
  '42501': 'SERVER_AUTH',
  // too_many_connections
  '53300': 'SERVER_UNREACHABLE',
  // admin_shutdown, crash_shutdown, idle_session_timeout
  '57P01': 'SERVER_GONE',
  '57P02': 'SERVER_GONE',
  '57P05': 'SERVER_GONE',
  // cannot_connect_now
  '57P03': 'SERVER_UNREACHABLE',
  // data_corrupted, index_corrupted
  XX001: 'SERVER_CORRUPT',
  XX002: 'SERVER_CORRUPT',
};

/** `user` makes hints concrete. The context has `sqlstate`, `severity`, `detail`. */
export function serverError(report: ServerMessage, user: string): HelvinoError {
  const { severity, code: sqlstate, message, detail } = report;
  const code = /max_wal_senders/.test(message) ? 'SERVER_SETTING' : (codes[sqlstate] ?? 'SERVER_ERROR');
  const text = detail && code === 'SERVER_ERROR' ? `${message} (${detail})` : message;
  return new HelvinoError(code, text, {
    hint: ourHint(report, user) ?? report.hint,
    context: { sqlstate, severity, detail },
  });
}

function ourHint({ code, message }: ServerMessage, user: string): string | undefined {
  const role = `"${user.replaceAll('"', '""')}"`;
  if (code === '28P01')
    return `check the password of role ${role}: PGPASSWORD, ~/.pgpass or the connection URL`;
  if (code === '28000')
    return hbaHint(message) ?? `check that role ${role} exists and may log in, and pg_hba.conf`;
  if (code === '42501' && /wal ?sender/i.test(message))
    return `a role with REPLICATION is needed: ALTER ROLE ${role} REPLICATION`;
  if (/max_wal_senders/.test(message))
    return 'raise max_wal_senders in postgresql.conf and restart the server';
  if (code === '53300') return 'free a connection, or raise max_connections';
  if (code === '3D000') return 'name a database that exists (dbname)';
  if (code === '57P03') return 'the server is starting up or shutting down: try again in a moment';
  return undefined;
}

/** https://www.postgresql.org/docs/current/auth-pg-hba-conf.html */
function hbaHint(message: string): string | undefined {
  if (!message.includes('pg_hba.conf')) return undefined;
  const field = (name: string) => new RegExp(`${name} "([^"]*)"`).exec(message)?.[1];
  const host = field('host');
  if (host === undefined) return undefined;
  const database = message.includes('replication connection') ? 'replication' : (field('database') ?? 'all');
  const who = `"${field('user') ?? 'all'}"`;
  const kind = /SSL encryption|SSL on/.test(message) ? 'hostssl' : 'host';
  const mask = host.includes(':') ? 128 : 32;
  const line =
    host === '[local]'
      ? `local ${database} ${who} scram-sha-256`
      : `${kind} ${database} ${who} ${host}/${mask} scram-sha-256`;
  return `add this line to pg_hba.conf on the server, then SELECT pg_reload_conf(): ${line}`;
}
