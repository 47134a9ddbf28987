/** The messages of a conversation, oldest first, with their threads and attachments. Numbers of messages are texts in JSON. */
import type { FastifyInstance } from 'fastify';
import type { Prisma } from '../../generated/client.ts';
import type { Database, Transaction } from '../database.ts';
import { HttpError } from '../errors.ts';
import { audit, type TenantWriter } from '../writes.ts';

const select = {
  id: true,
  parentId: true,
  author: { select: { email: true, name: true } },
  body: true,
  meta: true,
  createdAt: true,
  attachments: { select: { id: true, name: true, contentType: true } },
} as const;

const number = { type: 'string', pattern: '^[0-9]{1,18}$' };
const byId = { type: 'object', properties: { id: { type: 'string', format: 'uuid' } } };

const list = {
  params: byId,
  querystring: {
    type: 'object',
    properties: { limit: { type: 'integer', minimum: 1, maximum: 500, default: 100 }, after: number },
  },
};

const attachment = {
  type: 'object',
  required: ['name', 'contentType', 'base64'],
  additionalProperties: false,
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 200 },
    contentType: { type: 'string', pattern: '^[a-z]+/[a-zA-Z0-9.+-]+$' },
    base64: { type: 'string', pattern: '^[A-Za-z0-9+/]*={0,2}$' },
  },
};

const create = {
  params: byId,
  body: {
    type: 'object',
    required: ['author', 'body'],
    additionalProperties: false,
    properties: {
      author: { type: 'string', format: 'email', maxLength: 200 },
      body: { type: 'string', minLength: 1, maxLength: 100_000 },
      parentId: number,
      meta: { type: 'object' },
      attachments: { type: 'array', maxItems: 10, items: attachment },
    },
  },
};

interface List {
  Params: { id: string };
  Querystring: { limit: number; after?: string };
}

interface NewMessage {
  author: string;
  body: string;
  parentId?: string;
  meta?: Prisma.InputJsonObject;
  attachments?: { name: string; contentType: string; base64: string }[];
}

export function messageRoutes(app: FastifyInstance, database: Database, write: TenantWriter): void {
  app.get<List>(
    '/conversations/:id/messages',
    { schema: list },
    async ({ tenant, params: { id }, query }) => {
      await needConversation(database, id, tenant.id);
      const found = await database.message.findMany({
        where: { conversationId: id, id: { gt: BigInt(query.after ?? 0) } },
        orderBy: { id: 'asc' },
        take: query.limit,
        select,
      });
      return { messages: found, next: found.length === query.limit ? found.at(-1)?.id : null };
    },
  );

  app.post<{ Params: { id: string }; Body: NewMessage }>(
    '/conversations/:id/messages',
    { schema: create },
    async ({ tenant, params: { id }, body }, reply) => {
      const created = await write(tenant.id, async (tx) => {
        await needConversation(tx, id, tenant.id);
        const message = await addMessage(tx, { conversationId: id, organizationId: tenant.id, ...body });
        const entity = { entity: 'messages', entityId: String(message.id) };
        await audit(tx, { organizationId: tenant.id, actor: body.author, action: 'write', ...entity });
        return message;
      });
      return reply.status(201).send(created);
    },
  );

  app.get<{ Params: { id: string } }>(
    '/attachments/:id',
    { schema: { params: byId } },
    async (request, reply) => {
      const { tenant, params } = request;
      const found = await database.attachment.findFirst({
        where: { id: params.id, message: { conversation: { organizationId: tenant.id } } },
      });
      if (!found) throw new HttpError(404, 'NOT_FOUND', `there is no attachment ${params.id}`);
      // Never shown by a browser as a page of this host.
      reply.header('content-disposition', 'attachment').type(found.contentType);
      return reply.send(Buffer.from(found.content));
    },
  );
}

export async function needConversation(tx: Transaction, id: string, organizationId: string): Promise<void> {
  const found = await tx.conversation.findFirst({ where: { id, organizationId }, select: { id: true } });
  if (!found) throw new HttpError(404, 'NOT_FOUND', `there is no conversation ${id}`);
}

async function addMessage(
  tx: Transaction,
  {
    organizationId,
    conversationId,
    ...given
  }: NewMessage & { organizationId: string; conversationId: string },
) {
  const parentId = given.parentId === undefined ? undefined : BigInt(given.parentId);
  if (parentId !== undefined && !(await tx.message.findFirst({ where: { id: parentId, conversationId } })))
    throw new HttpError(400, 'INVALID', `the conversation has no message ${parentId} to answer`);
  const who = { organizationId, email: given.author };
  // A new author becomes a user; two requests may do so at once.
  await tx.user.createMany({ data: { ...who, name: given.author.split('@')[0]! }, skipDuplicates: true });
  const author = await tx.user.findUniqueOrThrow({ where: { organizationId_email: who } });
  const attachments = (given.attachments ?? []).map(({ base64, ...rest }) => ({
    ...rest,
    content: Buffer.from(base64, 'base64'),
  }));
  return tx.message.create({
    data: {
      conversationId,
      authorId: author.id,
      parentId,
      body: given.body,
      meta: given.meta,
      attachments: { create: attachments },
    },
    select,
  });
}
