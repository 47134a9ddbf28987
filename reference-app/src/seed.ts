/** `npm run seed -- --organizations 10 --messages 100000 --seed 1`: fills an empty database, the same rows for the same numbers. */
import { parseArgs } from 'node:util';
import { run, say, withClient } from './script.ts';
import {
  batchOf,
  createPhrases,
  insertMessages,
  insertTenants,
  resetSequences,
  type SeedSize,
} from './seed-rows.ts';

await run(async () => {
  const size = readSize();
  const begun = performance.now();
  await withClient(async (client) => {
    const { rows } = await client.query('select from organizations limit 1');
    if (rows.length > 0)
      throw new Error('there are organizations in this database: the seed is for an empty one');
    await createPhrases(client, size);
    await insertTenants(client, size);
    for (let from = 1; from <= size.messages; from += batchOf) {
      const to = Math.min(from + batchOf - 1, size.messages);
      await insertMessages(client, size, { from, to });
      if (to < size.messages) say(`${to} of ${size.messages} messages`);
    }
    await resetSequences(client);
    await client.query('analyze');
  });
  const seconds = ((performance.now() - begun) / 1000).toFixed(1);
  say(
    `${size.organizations} organizations (the first is "demo"), ${size.conversations} conversations, ${size.messages} messages in ${seconds} s`,
  );
});

function readSize(): SeedSize {
  const { values } = parseArgs({
    options: {
      organizations: { type: 'string', default: '10' },
      messages: { type: 'string', default: '10000' },
      seed: { type: 'string', default: '1' },
    },
  });
  const number = (name: keyof typeof values, least: number) => {
    const value = Number(values[name]);
    if (!Number.isSafeInteger(value) || value < least)
      throw new Error(`--${name} is "${values[name]}": a number from ${least}`);
    return value;
  };
  const organizations = number('organizations', 1);
  const messages = number('messages', 0);
  return {
    organizations,
    messages,
    users: organizations * 25,
    conversations: Math.max(organizations, Math.ceil(messages / 15)),
    seed: number('seed', 0),
  };
}
