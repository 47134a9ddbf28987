/**
 * A restore in a process of its own, that can be killed: arguments are JSON. Prints how many progress events each phase
 * had; with `killAt` it kills itself at that event of that phase.
 */
import { systemClock } from '../src/base/clock.ts';
import { restore } from '../src/operations/restore/restore.ts';
import { openIdentities, openRepository } from '../src/repository/index.ts';
import { openFsDriver } from '../src/storage/index.ts';

export interface RestoreChildArguments {
  readonly root: string;
  readonly identity: string;
  readonly database: string;
  readonly id: string;
  readonly directory: string;
  readonly delta: boolean;
  readonly killAt?: { readonly phase: string; readonly event: number };
}

const wanted = JSON.parse(process.argv[2]!) as RestoreChildArguments;
const events: Record<string, number> = {};
let phase = '';

function happened(): void {
  events[phase] = (events[phase] ?? 0) + 1;
  if (wanted.killAt?.phase === phase && wanted.killAt.event === events[phase])
    process.kill(process.pid, 'SIGKILL');
}

const identities = await openIdentities(wanted.identity, 'the test');
const repository = await openRepository(await openFsDriver({ root: wanted.root }), { identities });
await restore({
  repository,
  identities,
  manifest: await repository.manifest(wanted.database, wanted.id),
  directory: wanted.directory,
  delta: wanted.delta,
  tablespaces: new Map(),
  newTimeline: true,
  clock: systemClock,
  progress: {
    phase(name) {
      phase = name;
      happened();
    },
    advance: happened,
    total() {},
    note() {},
  },
  signal: new AbortController().signal,
});
process.stdout.write(JSON.stringify(events));
