/** The environment: the only file that reads it. */
export interface Config {
  readonly databaseUrl: string;
  /** What `x-internal-key` must be. */
  readonly internalKey: string;
  /** False: the whole application takes no writes, whatever its tenants' settings say. */
  readonly writeEnabled: boolean;
  readonly host: string;
  readonly port: number;
  readonly logLevel: string;
}

export function readConfig(): Config {
  const { INTERNAL_KEY, WRITE_ENABLED = 'true', HOST = 'localhost', PORT = '4000' } = process.env;
  if (!INTERNAL_KEY) throw new Error('INTERNAL_KEY is not set: what x-internal-key must be');
  if (!['true', 'false'].includes(WRITE_ENABLED))
    throw new Error(`WRITE_ENABLED is "${WRITE_ENABLED}": true or false`);
  if (!/^\d{1,5}$/.test(PORT)) throw new Error(`PORT is "${PORT}": a number`);
  return {
    databaseUrl: readDatabaseUrl(),
    internalKey: INTERNAL_KEY,
    writeEnabled: WRITE_ENABLED === 'true',
    host: HOST,
    port: Number(PORT),
    logLevel: process.env.LOG_LEVEL ?? 'info',
  };
}

export function readDatabaseUrl(): string {
  const url = process.env.DATABASE_URL;
  if (!url) throw new Error('DATABASE_URL is not set: postgresql://user:password@host:5432/database');
  return url;
}
