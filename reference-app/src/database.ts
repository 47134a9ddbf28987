import { PrismaPg } from '@prisma/adapter-pg';
import { type Prisma, PrismaClient } from '../generated/client.ts';

export type Database = PrismaClient;
export type Transaction = Prisma.TransactionClient;

/** Connects with the first query, and again whenever the server was away: the application starts without it. */
export function openDatabase(connectionString: string): Database {
  const pool = {
    connectionString,
    max: 10,
    connectionTimeoutMillis: 5_000,
    statement_timeout: 30_000,
    application_name: 'helvino-api',
  };
  return new PrismaClient({ adapter: new PrismaPg(pool), errorFormat: 'minimal' });
}
