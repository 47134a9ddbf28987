/** The HTTP server, whole: for `main.ts` to listen with. */
import Fastify, { type FastifyInstance } from 'fastify';
import type { Config } from './config.ts';
import { openDatabase } from './database.ts';
import { answerErrors, HttpError } from './errors.ts';
import { healthRoute } from './health.ts';
import { needInternalKey, needTenant } from './keys.ts';
import { conversationRoutes } from './routes/conversations.ts';
import { messageRoutes } from './routes/messages.ts';
import { settingsRoutes } from './routes/settings.ts';
import { tenantWriter } from './writes.ts';

export async function buildApp(config: Config): Promise<FastifyInstance> {
  const app = Fastify({
    logger: { level: config.logLevel },
    bodyLimit: 8 * 1024 * 1024,
    // What is not known is refused, not passed over; and a body means what it says: null is not false.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: false } },
  });
  const database = openDatabase(config.databaseUrl);
  app.addHook('onClose', () => database.$disconnect());
  // PostgreSQL's bigint: more than a number of JSON is sure to hold.
  app.setReplySerializer((payload) =>
    JSON.stringify(payload, (_, value) => (typeof value === 'bigint' ? String(value) : value)),
  );
  closeAfterAnswer(app);
  answerErrors(app);
  await healthRoute(app, config);

  app.addHook('preValidation', async ({ method }) => {
    if (!config.writeEnabled && method !== 'GET' && method !== 'HEAD')
      throw new HttpError(503, 'WRITES_DISABLED', 'the application is read-only: WRITE_ENABLED is false');
  });
  app.register((internal, _, done) => {
    internal.addHook('onRequest', needInternalKey(config.internalKey));
    settingsRoutes(internal, database);
    done();
  });
  app.register((tenants, _, done) => {
    tenants.decorateRequest('tenant');
    tenants.addHook('onRequest', needTenant(database));
    // All that an URL says is text.
    tenants.addHook<{ Querystring: { limit?: unknown } }>('preValidation', async ({ query }) => {
      if (query.limit) query.limit = Number(query.limit);
    });
    const write = tenantWriter(database);
    conversationRoutes(tenants, database, write);
    messageRoutes(tenants, database, write);
    done();
  });
  return app;
}

/** At the end, callers that would keep their connection for the next request do not hold the process up. */
function closeAfterAnswer(app: FastifyInstance): void {
  let closing = false;
  app.addHook('preClose', async () => {
    closing = true;
  });
  app.addHook('onSend', async (_request, reply) => {
    if (closing) reply.header('connection', 'close');
  });
}
