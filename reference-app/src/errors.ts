/** Every answer that is no success has the body `{ "error": { "code", "message" } }`. */
import type { FastifyError, FastifyInstance } from 'fastify';
import { Prisma } from '../generated/client.ts';

export class HttpError extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export function answerErrors(app: FastifyInstance): void {
  app.setNotFoundHandler((request) => {
    throw new HttpError(404, 'NOT_FOUND', `there is no ${request.method} ${request.url.split('?')[0]}`);
  });
  app.setErrorHandler((thrown: FastifyError, request, reply) => {
    const { status, code, message } = asHttpError(thrown);
    if (status >= 500) request.log.error(thrown);
    if (status === 503) reply.header('retry-after', '30');
    return reply.status(status).send({ error: { code, message } });
  });
}

function asHttpError(thrown: FastifyError): HttpError {
  if (thrown instanceof HttpError) return thrown;
  if (thrown.validation) return new HttpError(400, 'INVALID', thrown.message);
  if (thrown.statusCode && thrown.statusCode < 500)
    return new HttpError(thrown.statusCode, thrown.code, thrown.message);
  return databaseError(thrown) ?? new HttpError(500, 'INTERNAL', 'something went wrong here');
}

/** Prisma's codes and those of PostgreSQL that say: not now. Connections (P1…, 08…), too many or too long (53…, 57…, P20…). */
const notNow = /^(P1|P2024|P2028|P2034|08|53|57)/;

/** A character 0, or half of one, in a text or in JSON. */
const notText = /^(22021|22P02|22P05)/;

/** The database is away, or takes no writes: for the caller to try again later. */
function databaseError(thrown: Error): HttpError | undefined {
  if (!(thrown instanceof Prisma.PrismaClientKnownRequestError)) return undefined;
  const { cause } = (thrown.meta?.driverAdapterError ?? {}) as { cause?: { originalCode?: string } };
  const state = cause?.originalCode ?? '';
  if (notText.test(state))
    return new HttpError(400, 'INVALID', 'a text holds characters that the database does not take');
  if (state === '25006')
    return new HttpError(503, 'DATABASE_READ_ONLY', 'the database takes no writes now, reads go on');
  if (notNow.test(state) || notNow.test(thrown.code))
    return new HttpError(503, 'DATABASE_UNAVAILABLE', 'the database does not answer now, see /health');
  return undefined;
}

/** In one line. A failed fetch has its reason in its cause; a refused connection to a name with two addresses only a code. */
export function describe(thrown: unknown): string {
  const { message, code, cause } = thrown as Error & { code?: string };
  return thrown instanceof TypeError && cause instanceof Error
    ? describe(cause)
    : message || code || String(thrown);
}
