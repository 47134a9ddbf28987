/** `GET /health`: asks the database over connections of its own, so that a busy pool does not look like an outage. */
import type { FastifyInstance } from 'fastify';
import pg from 'pg';
import type { Config } from './config.ts';
import { describe } from './errors.ts';
import {
  type Migration,
  readMigrations,
  type SchemaState,
  schemaState,
  whyNotCurrent,
} from './migrations.ts';

interface Health {
  readonly status: 'ok' | 'unavailable';
  readonly database: { readonly reachable: boolean; readonly version?: string };
  /** Of a database that answers. */
  readonly schema?: SchemaState;
  /** No writes now: of the database or of the whole application. Tenants have `writeEnabled` besides. */
  readonly readOnly: boolean;
  /** Why it is not ok, or read-only. */
  readonly reasons: readonly string[];
}

const patienceMs = 2_000;

export async function healthRoute(app: FastifyInstance, config: Config): Promise<void> {
  const migrations = await readMigrations();
  const pool = new pg.Pool({
    connectionString: config.databaseUrl,
    max: 2,
    connectionTimeoutMillis: patienceMs,
    query_timeout: patienceMs,
    application_name: 'helvino-api health',
  });
  pool.on('error', (error) => app.log.warn(error));
  app.addHook('onClose', () => pool.end());
  app.get('/health', async (_request, reply) => {
    const health = await within(2 * patienceMs, look(pool, migrations, config)).catch(unreachable);
    return reply.status(health.status === 'ok' ? 200 : 503).send(health);
  });
}

async function look(pool: pg.Pool, migrations: readonly Migration[], config: Config): Promise<Health> {
  const { rows } = await pool.query<{ version: string; standby: boolean; read_only: boolean }>(
    `select current_setting('server_version') as version, pg_is_in_recovery() as standby,
       current_setting('transaction_read_only')::boolean as read_only`,
  );
  const { version, standby, read_only } = rows[0]!;
  const schema = await schemaState(pool, migrations);
  const readOnly = [
    ...(config.writeEnabled ? [] : ['WRITE_ENABLED is false']),
    ...(standby ? ['the database is a standby'] : read_only ? ['the database is read-only'] : []),
  ];
  return {
    status: schema.current ? 'ok' : 'unavailable',
    database: { reachable: true, version },
    schema,
    readOnly: readOnly.length > 0,
    reasons: [...whyNotCurrent(schema), ...readOnly],
  };
}

function unreachable(thrown: unknown): Health {
  return {
    status: 'unavailable',
    database: { reachable: false },
    readOnly: true,
    reasons: [`the database does not answer: ${describe(thrown)}`],
  };
}

function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`nothing within ${ms / 1000} s`)), ms);
  return Promise.race([work, late.promise]).finally(() => clearTimeout(timer));
}
