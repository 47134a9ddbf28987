/** An organization's settings, for operators: `writeEnabled=false` makes a tenant read-only while its data is repaired. */
import type { FastifyInstance } from 'fastify';
import type { Prisma } from '../../generated/client.ts';
import type { Database } from '../database.ts';
import { HttpError } from '../errors.ts';
import { audit } from '../writes.ts';

const columns = { id: true, key: true, name: true, plan: true, settings: true } as const;

const settings = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    writeEnabled: { type: 'boolean' },
    locale: { type: 'string', pattern: '^[a-z]{2}(-[A-Z]{2})?$' },
    autoCloseDays: { type: 'integer', minimum: 1, maximum: 3650 },
  },
};

interface ByKey {
  Params: { key: string };
}

export function settingsRoutes(app: FastifyInstance, database: Database): void {
  app.get<ByKey>('/api/org/:key/settings', async ({ params: { key } }) => {
    const found = await database.organization.findUnique({ where: { key }, select: columns });
    return found ?? noOrganization(key);
  });

  app.patch<ByKey & { Body: Prisma.InputJsonObject }>(
    '/api/org/:key/settings',
    { schema: { body: settings } },
    async ({ params: { key }, body }) =>
      database.$transaction(async (tx) => {
        // Waits for the writes that have read the settings, see writes.ts.
        await tx.$queryRaw`select from organizations where key = ${key} for update`;
        const before = await tx.organization.findUnique({ where: { key }, select: columns });
        if (!before) return noOrganization(key);
        const merged = { ...(before.settings as Prisma.InputJsonObject), ...body };
        const changed = await tx.organization.update({
          where: { key },
          data: { settings: merged },
          select: columns,
        });
        await audit(tx, {
          organizationId: before.id,
          actor: 'operator',
          action: 'change settings',
          entity: 'organizations',
          entityId: before.id,
          detail: { before: before.settings as Prisma.InputJsonObject, after: merged },
        });
        return changed;
      }),
  );
}

function noOrganization(key: string): never {
  throw new HttpError(404, 'NOT_FOUND', `there is no organization "${key}"`);
}
