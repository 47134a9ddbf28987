/** Whether the server's files are here, to be read instead of received. It is known before anything begins. */
import { accessSync, constants, existsSync, lstatSync, type Stats } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from 'pg';
import type { ErrorCode } from '../../base/error-codes.ts';
import { HelvinoError, systemCode } from '../../base/errors.ts';
import {
  backendPid,
  type DataPlace,
  hasSlot,
  isLocalSession,
  mayBeginBackup,
  type ReplicationConnection,
  readDatabaseFolders,
  readDataPlace,
  readTablespaces,
  serverSends,
  sourceUnreadable,
} from '../../postgres/index.ts';

export const pageSize = 8192;
/** Milliseconds that a database, which is being dropped, may be listed without its folder. */
const dropTime = 1000;

/** The replication connection, and its temporary slot, by which the data directory is known to be this server's. */
interface Link {
  readonly connection: Pick<ReplicationConnection, 'show'>;
  readonly slot: string | undefined;
}

export interface FilesHere extends DataPlace {
  /** As in `openSourceFile`. */
  readonly owner: number | undefined;
}

/** Throws SERVER_AUTH, SERVER_SETTING or SOURCE_UNREADABLE when the files cannot be read here. */
export async function filesHere(client: Client, slot: string | undefined): Promise<FilesHere> {
  await assertOneSession(client);
  const place = await readDataPlace(client);
  assertPageSize(place);
  const { uid } = await assertOurs(client, place, slot);
  await assertAllSeen(client, place);
  return { ...place, owner: process.geteuid?.() === uid ? undefined : uid };
}

const obstacles: ReadonlySet<ErrorCode> = new Set([
  'SERVER_AUTH',
  'SERVER_ERROR',
  'SERVER_SETTING',
  'SOURCE_UNREADABLE',
]);

/**
 * For `read: auto`. Says why, when the files cannot be read here, and also where that is less sure to end well than to receive
 * them: files that are another user's, or perhaps of a file system that is shared over the network; a server that ends idle
 * sessions, and the slot with them; a tablespace, of which it is not proven whose it is; a role that may not begin a backup so.
 */
export async function filesAtHand(
  client: Client,
  version: number,
  link: Link,
): Promise<FilesHere | { readonly why: string }> {
  try {
    const here = await filesHere(client, link.slot);
    const why = await obstacleTo(here, client, { version, connection: link.connection });
    return why === undefined ? here : { why };
  } catch (thrown) {
    if (thrown instanceof HelvinoError && obstacles.has(thrown.code)) return { why: thrown.message };
    throw thrown;
  }
}

async function obstacleTo(
  { owner, dataDir }: FilesHere,
  client: Client,
  { version, connection }: { version: number; connection: Link['connection'] },
): Promise<string | undefined> {
  if (owner !== undefined) return `${dataDir} belongs to user ${owner}, and this process to another`;
  if (!(await isLocalSession(client))) return 'the client has another address than the server';
  if ((await connection.show('idle_session_timeout')) !== '0') return 'the server ends idle sessions';
  if ((await readTablespaces(client)).length > 0) return 'there are tablespaces';
  if (!(await mayBeginBackup(client, version))) return 'the role may not call the functions of a backup';
  return undefined;
}

/** The begin and the end of a backup belong to one session of the server. Throws SERVER_SETTING. */
export async function assertOneSession(client: Client): Promise<void> {
  const own = await backendPid(client);
  const { processID } = client as unknown as { readonly processID: number | null };
  if (processID === own) return;
  throw new HelvinoError('SERVER_SETTING', 'the connection leads through a pooler', {
    hint: `connect to the server itself, or ${serverSends}`,
  });
}

/** What is mounted below the data directory may be seen by the server alone. */
async function assertAllSeen(client: Client, place: DataPlace): Promise<void> {
  if ((await unseenFolder(client, place)) === undefined) return;
  await sleep(dropTime);
  const unseen = await unseenFolder(client, place);
  if (unseen === undefined) return;
  throw sourceUnreadable(
    unseen,
    'the server has it, and it is not to be seen here',
    `run Helvino where the same disks are mounted as for the server, or ${serverSends}`,
  );
}

async function unseenFolder(client: Client, { dataDir }: DataPlace): Promise<string | undefined> {
  const folders = await readDatabaseFolders(client);
  return folders
    .map((folder) => join(dataDir, folder))
    .find((folder) => !existsSync(join(folder, 'PG_VERSION')));
}

function assertPageSize({ pageSize: found }: DataPlace): void {
  if (found === pageSize) return;
  throw new HelvinoError(
    'SERVER_SETTING',
    `the server's block_size is ${found}, and only pages of ${pageSize} bytes can be verified`,
    {
      hint: serverSends,
    },
  );
}

/**
 * Another server may have the same path, on another machine or in another container, and even the same system identifier. What
 * it returns is of the slot's folder: nobody but the server's user can have made it, whoever owns what the path leads through.
 */
export async function assertOurs(
  client: Client,
  { dataDir }: DataPlace,
  slot: string | undefined,
): Promise<Stats> {
  if (slot === undefined) {
    throw new HelvinoError(
      'SERVER_SETTING',
      'without a replication slot it is not known whose files these are',
      {
        hint: `raise max_replication_slots of the server, or ${serverSends}`,
      },
    );
  }
  const found = await slotFolder(client, dataDir, slot);
  if (typeof found === 'object') return found;
  throw new HelvinoError('SOURCE_UNREADABLE', `the data directory is not to be seen here: ${found}`, {
    hint: `run Helvino on the server's machine as a user that may read ${dataDir}, or ${serverSends}`,
    context: { dataDir },
  });
}

/** Or why it is not to be seen. */
async function slotFolder(client: Client, dataDir: string, slot: string): Promise<Stats | string> {
  try {
    accessSync(join(dataDir, 'global/pg_control'), constants.R_OK);
  } catch (thrown) {
    return `${dataDir}: ${systemCode(thrown) ?? String(thrown)}`;
  }
  if (!(await hasSlot(client, slot))) return 'the connections lead to different servers';
  // Each slot has a folder; this one has a name of chance.
  const folder = lstatSync(join(dataDir, 'pg_replslot', slot), { throwIfNoEntry: false });
  return folder?.isDirectory() ? folder : `${dataDir} is another server's, although it has the same path`;
}
