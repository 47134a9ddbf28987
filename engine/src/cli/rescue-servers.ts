/** The servers of `helvino rescue`: throw-away ones of the past, and the live one. */
import type { Client } from 'pg';
import { HelvinoError } from '../base/errors.ts';
import { findRecovery, parseTarget } from '../operations/restore/index.ts';
import { openServer } from '../operations/throw-away/index.ts';
import { type ConnectionParams, connectSql, resolveConnection } from '../postgres/index.ts';
import type { Identities } from '../repository/index.ts';
import type { CliContext } from './context.ts';
import { chosenManifest, neededDatabase, neededIdentities, type ReadAccess } from './open.ts';
import { tellRivals } from './recovery.ts';
import { temporaryServer } from './temporary-server.ts';
import { type OptionValues, textOption } from './verb.ts';

export interface PastServer {
  readonly client: Client;
  /** What moment it is, for people. */
  readonly moment: string;
}

interface PastRequest {
  readonly access: ReadAccess;
  /** As `--to` takes it. */
  readonly target: string;
  readonly database: string;
}

/** Restores to the target, and removes the server when `work` has ended. */
export async function withPastServer<T>(
  context: CliContext,
  options: OptionValues,
  { access, target, database }: PastRequest,
  work: (server: PastServer) => Promise<T>,
): Promise<T> {
  const identities: Identities = access.identities ?? (await neededIdentities(context, options));
  const parsed = parseTarget(target, context.clock.now());
  const own = { ...access, identities };
  context.progress.phase('looking for the recovery target');
  const recovery =
    parsed.kind === 'backup'
      ? undefined
      : await findRecovery({
          ...own,
          database: neededDatabase(access),
          target: parsed,
          timeline: timelineOf(options),
          signal: context.signal,
        });
  if (recovery) tellRivals(context, recovery);
  const manifest = recovery?.target.manifest ?? (await chosenManifest(own, undefined, 'physical'));
  const moment = recovery?.target.description ?? `the end of backup ${manifest.id}`;
  let result: { readonly value: T } | undefined;
  const request = {
    ...context,
    ...own,
    manifest,
    recovery,
    // Temporary tables are writes.
    writable: true,
    ...temporaryServer(context, options, access),
  };
  await openServer(request, async ({ url }) => {
    const client = await connect(await resolveConnection({ url }, {}), { database, signal: context.signal });
    const free = cancelOnAbort(client, context.signal);
    try {
      result = { value: await work({ client, moment }) };
    } finally {
      free();
      await client.end().catch(() => undefined);
    }
  });
  return result!.value;
}

function timelineOf(options: OptionValues): number | undefined {
  const text = textOption(options, 'timeline');
  if (text !== undefined && !/^\d{1,9}$/.test(text))
    throw new HelvinoError('USAGE', `"${text}" is not a timeline`);
  return text === undefined ? undefined : Number(text);
}

/** A broken connection is noticed by the next query; without a listener it would end the process. */
async function connect(
  connection: ConnectionParams,
  { database, signal }: { database: string | undefined; signal: AbortSignal },
): Promise<Client> {
  const client = await connectSql(connection, { database, signal });
  client.on('error', () => undefined);
  return client;
}

/** Ends the server's work when the user stops the run, so that nothing is waited for. */
function cancelOnAbort(client: Client, signal: AbortSignal): () => void {
  const stop = () => client.connection.stream.destroy();
  signal.addEventListener('abort', stop, { once: true });
  return () => signal.removeEventListener('abort', stop);
}

/** Works on the live server, and leaves it when the user stops the run. */
export async function onLive<T>(
  context: CliContext,
  { connection, database }: { connection: ConnectionParams; database: string },
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const client = await connect(connection, { database, signal: context.signal });
  const free = cancelOnAbort(client, context.signal);
  try {
    return await work(client);
  } catch (thrown) {
    if (context.signal.aborted) throw context.signal.reason;
    throw thrown;
  } finally {
    free();
    await client.end().catch(() => undefined);
  }
}
