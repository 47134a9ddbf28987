/** What others do while the demo goes on: two sessions that write messages, and now and then open a conversation. */
import type { Client } from 'pg';
import { systemCode } from '../../base/errors.ts';
import { type ConnectionParams, connectSql } from '../../postgres/index.ts';
import { demoSize } from './demo-data.ts';

export interface DemoLoad {
  /** Server time at which it began: conversations that are older were there before. */
  readonly begun: string;
  /** Ids of messages that were committed after `mark`. */
  readonly later: readonly string[];
  /** From here on is later. */
  mark(): void;
  /** Ends it and waits; throws what ended a session early. */
  stop(): Promise<void>;
}

const sessions = 2;
/** foreign_key_violation: the conversation is gone. */
const violation = '23503';

export async function startLoad(connection: ConnectionParams): Promise<DemoLoad> {
  const clients = await Promise.all(
    Array.from({ length: sessions }, () => connectSql(connection, { database: 'postgres' })),
  );
  const { rows } = await clients[0]!.query<{ begun: string }>('select now()::text as begun');
  const later: string[] = [];
  let isLater = false;
  let running = true;
  const write = async (client: Client, session: number) => {
    for (let i = 0; running; i++) {
      const written = isLater;
      const id = await addMessage(client, i * sessions + session);
      if (written && id !== undefined) later.push(id);
    }
  };
  const all = Promise.allSettled(clients.map(write));
  return {
    begun: rows[0]!.begun,
    later,
    mark() {
      isLater = true;
    },
    async stop() {
      running = false;
      const results = await all;
      await Promise.all(clients.map((client) => client.end()));
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    },
  };
}

/** The id of the message; undefined when its conversation is gone. Every twentieth begins a conversation of its own. */
async function addMessage(client: Client, i: number): Promise<string | undefined> {
  const { organizations, conversations } = demoSize;
  const isNew = i % 20 === 0;
  const number = 1 + ((i * 7919) % conversations);
  const organization = (isNew ? i / 20 : number) % organizations;
  const conversation = isNew
    ? `insert into conversations (organization_id, subject) values (md5('organization ' || 1 + $1::int)::uuid, 'New today') returning id`
    : `select md5('conversation ' || $2::int)::uuid as id`;
  try {
    const { rows } = await client.query<{ id: string }>(
      `with c as (${conversation}) insert into messages (conversation_id, author_id, body)
       select id, md5('user ' || $1::int)::uuid, 'Written while others work, message ' || $2::int from c returning id::text`,
      [organization, isNew ? i : number],
    );
    return rows[0]!.id;
  } catch (thrown) {
    if (systemCode(thrown) === violation) return undefined;
    throw thrown;
  }
}
