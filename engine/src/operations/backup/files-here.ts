/** Whether the server's files are here, to be read instead of received. It is known before anything begins. */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Client } from 'pg';
import type { ErrorCode } from '../../base/error-codes.ts';
import { HelvinoError, systemCode } from '../../base/errors.ts';
import {
  type DataPlace,
  hasSlot,
  mayBeginBackup,
  type ReplicationConnection,
  readDataPlace,
  readTablespaces,
} from '../../postgres/index.ts';

export const pageSize = 8192;
const elsewise = 'leave out `read: files` (--read replication): then the server sends its files';

/** The replication connection, and its temporary slot, by which the data directory is known to be this server's. */
interface Link {
  readonly connection: Pick<ReplicationConnection, 'show'>;
  readonly slot: string | undefined;
}

/** Throws SERVER_AUTH, SERVER_SETTING or SOURCE_UNREADABLE when the files cannot be read here. */
export async function dataPlaceHere(client: Client, slot: string | undefined): Promise<DataPlace> {
  const place = await readDataPlace(client);
  assertPageSize(place);
  await assertOurs(client, place, slot);
  return place;
}

const obstacles: ReadonlySet<ErrorCode> = new Set(['SERVER_AUTH', 'SERVER_SETTING', 'SOURCE_UNREADABLE']);

/**
 * For `read: auto`. Undefined when the files cannot be read here, and also where that is less sure to end well than to receive
 * them: a tablespace, of which it is not proven whose it is; files that are another user's; a server that ends idle sessions,
 * and the slot with them; a role that may not begin a backup so.
 */
export async function dataPlaceAtHand(
  client: Client,
  version: number,
  { connection, slot }: Link,
): Promise<DataPlace | undefined> {
  try {
    const place = await dataPlaceHere(client, slot);
    if (!mayReadAll(place)) return undefined;
    if ((await connection.show('idle_session_timeout')) !== '0') return undefined;
    if ((await readTablespaces(client)).length > 0) return undefined;
    return (await mayBeginBackup(client, version)) ? place : undefined;
  } catch (thrown) {
    if (thrown instanceof HelvinoError && obstacles.has(thrown.code)) return undefined;
    throw thrown;
  }
}

/** The server's user, or root: to others some of the files may be closed. */
function mayReadAll({ dataDir }: DataPlace): boolean {
  const user = process.geteuid?.();
  return user === 0 || user === statSync(dataDir).uid;
}

function assertPageSize({ pageSize: found }: DataPlace): void {
  if (found === pageSize) return;
  throw new HelvinoError(
    'SERVER_SETTING',
    `the server's block_size is ${found}, and only pages of ${pageSize} bytes can be verified`,
    {
      hint: elsewise,
    },
  );
}

/** Another server may have the same path, on another machine or in another container, and even the same system identifier. */
export async function assertOurs(
  client: Client,
  { dataDir }: DataPlace,
  slot: string | undefined,
): Promise<void> {
  if (slot === undefined) {
    throw new HelvinoError(
      'SERVER_SETTING',
      'without a replication slot it is not known whose files these are',
      {
        hint: `raise max_replication_slots of the server, or ${elsewise}`,
      },
    );
  }
  const problem = await whyNotOurs(client, dataDir, slot);
  if (problem === undefined) return;
  throw new HelvinoError('SOURCE_UNREADABLE', `the files of the server cannot be read here: ${problem}`, {
    hint: `run Helvino on the server's machine as a user that may read ${dataDir}, or ${elsewise}`,
    context: { dataDir },
  });
}

async function whyNotOurs(client: Client, dataDir: string, slot: string): Promise<string | undefined> {
  try {
    accessSync(join(dataDir, 'global/pg_control'), constants.R_OK);
  } catch (thrown) {
    return `${dataDir}: ${systemCode(thrown) ?? String(thrown)}`;
  }
  if (!(await hasSlot(client, slot))) return 'the connections lead to different servers';
  // Each slot has a folder; this one has a name of chance.
  return existsSync(join(dataDir, 'pg_replslot', slot))
    ? undefined
    : `${dataDir} is another server's, although it has the same path`;
}
