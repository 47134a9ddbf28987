import { HelvinoError } from '../../base/errors.ts';
import { formatBytes, formatDuration, formatTime } from '../../base/format.ts';
import { parseDuration, slotPattern, slotRule } from '../../config/index.ts';
import { openConfigured, surroundingsOf } from '../../operations/index.ts';
import {
  defaultSlot,
  knownState,
  readSourceState,
  readStoredEnds,
  rivalChoices,
  type SourceState,
  storedClusters,
  storedEnds,
  streamWal,
  type WalAlarm,
  type WalStatus,
  walAlarms,
  walStatus,
} from '../../operations/wal/index.ts';
import { formatLsn } from '../../postgres/index.ts';
import type { CliContext } from '../context.ts';
import { keepCopiesUp } from '../copies.ts';
import { copyOption, databaseOption, type HostAccess, openAsHost } from '../open.ts';
import { table } from '../output/table.ts';
import { type OptionValues, textOption, type Verb } from '../verb.ts';

const stream: Verb = {
  name: 'wal stream',
  summary: 'receive WAL as it is written and store it, until stopped',
  details: [
    'Uses a physical replication slot, which is made if it is not there: the server keeps WAL until it is stored. The open segment is',
    'stored in parts about once a second. When the connection breaks, it is made again. Run it as a service. When it is away for long,',
    'WAL piles up on the server: limit that with max_slot_wal_keep_size, and drop the slot when you stop for good. If the slot has lost WAL',
    'then, it is made anew, what the server still has is fetched, and what is missing is recorded as a gap, which a new backup closes.',
    'It warns when the slot may be lost soon, and when what is stored is behind the server by more than wal.maxLag.',
  ],
  options: [
    databaseOption,
    {
      flags: '--slot <name>',
      description: 'the replication slot (default: wal.slot, or helvino_ and the name of the database)',
    },
    {
      flags: '--every <duration>',
      description: 'how often the open segment is stored (default: wal.every, 1s)',
    },
    {
      flags: '--synchronous',
      description:
        'store each commit as soon as it comes: for a server whose synchronous_standby_names names the slot',
    },
  ],
  examples: ['helvino wal stream', 'helvino wal stream --every 500ms', 'helvino wal stream --synchronous'],
  async run(context, options) {
    const host = await openAsHost(context, options, { everywhere: true });
    const { wal } = host.database;
    const slot = slotOf(host, options);
    const every = textOption(options, 'every');
    const intervalMs = (every === undefined ? wal.every : parseDuration(every)) * 1000;
    if (intervalMs < 10)
      throw new HelvinoError('USAGE', `an interval of ${intervalMs} ms is too short`, {
        hint: 'at least 10ms',
      });
    let durable: string | undefined;
    const keepingUp = keepCopiesUp(host, context);
    await streamWal({
      repository: host.repositoryHandle,
      recipients: host.repository.recipients,
      database: host.name,
      connection: await host.connection(),
      slot,
      intervalMs,
      synchronous: options.synchronous === true || wal.synchronous,
      watch: { everyMs: 10_000, maxLag: wal.maxLag, minRoom: wal.minRoom },
      clock: context.clock,
      progress: context.progress,
      signal: context.signal,
      onStored: (state) => {
        durable = `${formatLsn(state.durable)} on timeline ${state.timeline}`;
      },
    });
    await keepingUp;
    return {
      data: { durable, copies: host.mirrors?.states },
      text: [durable ? `stopped; WAL is stored up to ${durable}` : 'stopped; no WAL came'],
    };
  },
};

const status: Verb = {
  name: 'wal status',
  summary:
    'show which WAL is stored, its gaps, what that lets each backup recover to, and whether the stream is safe',
  details: [
    'Asks the server for the slot of the stream and for how far it is ahead (for up to three seconds). ALARM lines say what is wrong: no stream',
    'runs, the slot has lost WAL or soon may, what is stored is behind by more than wal.maxLag, WAL is missing and no backup is after it, the',
    'server is of another cluster than what is stored. Every',
    'copy of the repository is looked at, unless one is named. A backup is recoverable along the newest timeline, as `restore --to` goes when',
    'none is named; one that does not lead there along its own, which has to be named. Other timelines that went on are named below.',
  ],
  options: [
    databaseOption,
    copyOption,
    { flags: '--slot <name>', description: 'the replication slot (default: wal.slot)' },
    { flags: '--no-server', description: 'do not ask the server how far it is' },
  ],
  examples: ['helvino wal status', 'helvino wal status --json'],
  exits: [{ status: 1, meaning: 'there is an alarm' }],
  async run(context, options) {
    const host = await openAsHost(context, options);
    const slot = slotOf(host, options);
    const own = await walStatus(host.repositoryHandle, host.name);
    const isCopy = textOption(options, 'copy') !== undefined;
    const answer =
      options.server === false
        ? undefined
        : await readSourceState({
            connection: await host.connection(),
            slot,
            clusters: await storedClusters(host.repositoryHandle, host.name),
            stored: storedEnds(own),
            storedNow: () => readStoredEnds(host.repositoryHandle, host.name),
            now: await host.repositoryHandle.driver.now(),
            clock: context.clock,
          });
    // A copy gets what the stream has stored elsewhere.
    const asked = knownState(answer);
    const source = isCopy && asked ? { ...asked, elsewhere: undefined } : answer;
    const alarms = walAlarms({ slot, limits: host.database.wal, status: own, source });
    const copies = isCopy ? [] : await otherCopies(context, host);
    const state = knownState(source);
    const data = {
      ...own,
      repository: host.repositoryName,
      lag: state?.lag,
      slot: slotData(state),
      alarms,
      copies,
    };
    return {
      data,
      text: [...alarmText(alarms), ...statusText(own, state), ...copiesText(copies)],
      exit: alarms.length > 0 ? 1 : 0,
    };
  },
};

/** A slot for --json: positions as texts. */
function slotData(state: SourceState | undefined): unknown {
  if (!state?.slot) return undefined;
  const { restart, ...slot } = state.slot;
  return { ...slot, restart: restart === undefined ? undefined : formatLsn(restart) };
}

interface CopyStatus {
  readonly repository: string;
  readonly status?: WalStatus;
  /** Why it could not be looked at. */
  readonly error?: string;
}

/** Each copy has windows of its own. One that is away is shown as away. */
async function otherCopies(context: CliContext, host: HostAccess): Promise<CopyStatus[]> {
  const found: CopyStatus[] = [];
  for (const { name, config } of host.others) {
    try {
      const repository = await openConfigured(config, surroundingsOf(host.loaded, context.env));
      found.push({ repository: name, status: await walStatus(repository, host.name) });
    } catch (thrown) {
      if (!(thrown instanceof HelvinoError)) throw thrown;
      found.push({ repository: name, error: thrown.message });
    }
  }
  return found;
}

function copiesText(copies: readonly CopyStatus[]): string[] {
  return copies.flatMap(({ repository, status, error }) => [
    '',
    `copy ${repository}:${status ? '' : ` cannot be looked at: ${error}`}`,
    ...(status ? statusText(status, undefined) : []),
  ]);
}

function alarmText(alarms: readonly WalAlarm[]): string[] {
  return alarms.flatMap(({ message, hint }) => [`ALARM  ${message}`, `       ${hint}`]);
}

function slotOf({ name, database }: HostAccess, options: OptionValues): string {
  const given = textOption(options, 'slot');
  if (given === undefined) return database.wal.slot ?? defaultSlot(name);
  if (slotPattern.test(given)) return given;
  // The server would cut a name that is too long, and keep WAL for a slot that nobody finds.
  throw new HelvinoError(
    'USAGE',
    `"${given}" (${given.length} characters) is no name of a replication slot`,
    {
      hint: slotRule,
    },
  );
}

function statusText(data: WalStatus, source: SourceState | undefined): string[] {
  if (data.ranges.length === 0)
    return ['no WAL is stored yet: run `helvino wal stream`, or `helvino wal receive`'];
  const ranges = data.ranges.map((r) => [String(r.timeline), r.from, r.to, formatBytes(r.bytes)]);
  const windows = data.windows.map((w) => [w.backup, w.from, w.to, String(w.timeline)]);
  return [
    ...table(
      [{ title: 'timeline' }, { title: 'stored from' }, { title: 'to' }, { title: 'bytes', align: 'right' }],
      ranges,
    ),
    ...data.gaps.flatMap((gap) => [
      '',
      `gap on timeline ${gap.timeline} from ${gap.from} to ${gap.to}${gap.time ? `, found ${formatTime(new Date(gap.time))}` : ''}`,
      `  ${gap.why}`,
      gap.closedBy ? `  closed by backup ${gap.closedBy}` : '  open: a new backup closes it',
    ]),
    '',
    ...(windows.length > 0
      ? table(
          [{ title: 'backup' }, { title: 'recoverable from' }, { title: 'to' }, { title: 'timeline' }],
          windows,
        )
      : ['no backup yet: WAL alone recovers nothing']),
    ...rivalChoices(data.rivals).map((rival) => `beside the newest timeline: ${rival}`),
    '',
    `${data.pieces} pieces, ${formatBytes(data.size)}; the newest was stored ${data.newest ? formatTime(new Date(data.newest)) : 'never'}`,
    ...(source ? sourceText(source) : []),
  ];
}

function sourceText({ lag, slot }: SourceState): string[] {
  const ahead =
    lag.bytes === 0
      ? `the server is not ahead: all that it had was stored within ${formatDuration(lag.seconds ?? 0)}`
      : `the server is ${formatBytes(lag.bytes)} ahead, ${lag.seconds === undefined ? 'nothing was stored yet' : `${formatDuration(lag.seconds)} since the last store`}`;
  if (!slot) return [ahead];
  const facts = [
    slot.active ? 'a stream uses it' : 'no stream uses it',
    ...(slot.sync === undefined || slot.sync === 'async' ? [] : [`commits wait for it (${slot.sync})`]),
    `WAL ${slot.wal ?? 'not kept'}`,
    `${formatBytes(slot.kept)} kept`,
    slot.room === undefined ? 'without a limit' : `${formatBytes(Math.max(0, slot.room))} more may be`,
  ];
  return [ahead, `slot ${slot.name}: ${facts.join(', ')}`];
}

export const walVerbs: readonly Verb[] = [stream, status];
