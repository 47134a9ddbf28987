/** A tenant's conversations, newest first, a page at a time: `next` is the `after` of the following page. */
import type { FastifyInstance } from 'fastify';
import type { Status } from '../../generated/client.ts';
import type { Database, Transaction } from '../database.ts';
import { audit, type TenantWriter } from '../writes.ts';
import { needConversation } from './messages.ts';

const select = {
  id: true,
  subject: true,
  status: true,
  createdAt: true,
  tags: { select: { tag: { select: { name: true } } }, orderBy: { tagId: 'asc' } },
} as const;

const uuid = { type: 'string', format: 'uuid' };

const list = {
  querystring: {
    type: 'object',
    properties: {
      limit: { type: 'integer', minimum: 1, maximum: 200, default: 50 },
      after: uuid,
      status: { enum: ['open', 'pending', 'closed'] },
      tag: { type: 'string' },
    },
  },
};

const create = {
  body: {
    type: 'object',
    required: ['subject'],
    additionalProperties: false,
    properties: {
      subject: { type: 'string', minLength: 1, maxLength: 500 },
      tags: {
        type: 'array',
        maxItems: 20,
        uniqueItems: true,
        items: { type: 'string', minLength: 1, maxLength: 50 },
      },
    },
  },
};

interface List {
  Querystring: { limit: number; after?: string; status?: Status; tag?: string };
}

interface Create {
  Body: { subject: string; tags?: string[] };
}

export function conversationRoutes(app: FastifyInstance, database: Database, write: TenantWriter): void {
  app.get<List>('/conversations', { schema: list }, async ({ tenant, query }) => {
    const { limit, after, status, tag } = query;
    // From one that was deleted, an empty page would look like the end.
    if (after !== undefined) await needConversation(database, after, tenant.id);
    const found = await database.conversation.findMany({
      where: {
        organizationId: tenant.id,
        status,
        tags: tag === undefined ? undefined : { some: { tag: { name: tag } } },
      },
      orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
      ...(after === undefined ? {} : { cursor: { id: after }, skip: 1 }),
      take: limit,
      select,
    });
    return { conversations: found.map(shown), next: found.length === limit ? found.at(-1)?.id : null };
  });

  app.post<Create>('/conversations', { schema: create }, async ({ tenant, body }, reply) => {
    const created = await write(tenant.id, async (tx) => {
      const tags = await tagsNamed(tx, tenant.id, body.tags ?? []);
      const conversation = await tx.conversation.create({
        data: {
          organizationId: tenant.id,
          subject: body.subject,
          tags: { create: tags.map(({ id }) => ({ tagId: id })) },
        },
        select,
      });
      const entity = { entity: 'conversations', entityId: conversation.id };
      await audit(tx, { organizationId: tenant.id, actor: tenant.key, action: 'open', ...entity });
      return conversation;
    });
    return reply.status(201).send(shown(created));
  });
}

/** Makes those that are missing; two requests may do so at once. */
async function tagsNamed(tx: Transaction, organizationId: string, names: readonly string[]) {
  await tx.tag.createMany({ data: names.map((name) => ({ organizationId, name })), skipDuplicates: true });
  return tx.tag.findMany({ where: { organizationId, name: { in: [...names] } }, select: { id: true } });
}

function shown<T extends { tags: { tag: { name: string } }[] }>(conversation: T) {
  return { ...conversation, tags: conversation.tags.map(({ tag }) => tag.name) };
}
