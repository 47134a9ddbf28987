/** Who may ask what: `x-internal-key` for operators, `x-org-key` for a tenant. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import type { Database } from './database.ts';
import { HttpError } from './errors.ts';

export interface Tenant {
  readonly id: string;
  readonly key: string;
}

declare module 'fastify' {
  interface FastifyRequest {
    tenant: Tenant;
  }
}

/** Takes the same time wherever the first difference is, and whatever the lengths are. */
function sameKey(given: string, expected: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

export function needInternalKey(expected: string) {
  return async ({ headers }: FastifyRequest): Promise<void> => {
    if (!sameKey(String(headers['x-internal-key'] ?? ''), expected))
      throw new HttpError(401, 'UNAUTHORIZED', 'x-internal-key is missing or wrong');
  };
}

/** A tenant's key is its public name as well; the index finds it, then the whole of it is compared as above. */
export function needTenant(database: Database) {
  return async (request: FastifyRequest): Promise<void> => {
    const given = String(request.headers['x-org-key'] ?? '');
    const tenant = await database.organization.findUnique({
      where: { key: given },
      select: { id: true, key: true },
    });
    if (!tenant || !sameKey(given, tenant.key))
      throw new HttpError(401, 'UNAUTHORIZED', 'x-org-key is missing or names no organization');
    request.tenant = tenant;
  };
}
