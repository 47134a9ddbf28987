/** Writes of a tenant: only while it has `writeEnabled`, each with its line in the audit trail. */
import type { Prisma } from '../generated/client.ts';
import type { Database, Transaction } from './database.ts';
import { HttpError } from './errors.ts';

export interface Change {
  readonly organizationId: string;
  readonly actor: string;
  readonly action: string;
  readonly entity: string;
  readonly entityId: string;
  readonly detail?: Prisma.InputJsonObject;
}

export type TenantWriter = <T>(organizationId: string, work: (tx: Transaction) => Promise<T>) => Promise<T>;

/**
 * The tenant's settings are read and locked in the transaction of the write: once a change to `writeEnabled=false` has been
 * answered, no write of the tenant commits any more. Throws 503 for a tenant that is read-only.
 */
export function tenantWriter(database: Database): TenantWriter {
  return (organizationId, work) =>
    database.$transaction(async (tx) => {
      const [row] = await tx.$queryRaw<{ enabled: boolean }[]>`
        select (settings ->> 'writeEnabled')::boolean as enabled from organizations
        where id = ${organizationId}::uuid for share`;
      if (!row?.enabled)
        throw new HttpError(503, 'WRITES_DISABLED', 'the organization is read-only: writeEnabled is false');
      return work(tx);
    });
}

export async function audit(tx: Transaction, change: Change): Promise<void> {
  await tx.auditEvent.create({ data: change });
}
