import { HelvinoError } from '../../base/errors.ts';
import { formatBytes, formatDuration, formatTime } from '../../base/format.ts';
import { parseDuration } from '../../config/index.ts';
import { streamWal, type WalStatus, walStatus } from '../../operations/index.ts';
import { formatLsn } from '../../postgres/index.ts';
import { keepCopiesUp } from '../copies.ts';
import { copyOption, databaseOption, openAsHost } from '../open.ts';
import { table } from '../output/table.ts';
import { textOption, type Verb } from '../verb.ts';

const stream: Verb = {
  name: 'wal stream',
  summary: 'receive WAL as it is written and store it, until stopped',
  details: [
    'Uses a physical replication slot, which is made if it is not there: the server keeps WAL until it is stored. The open segment is',
    'stored in parts about once a second. When the connection breaks, it is made again. Run it as a service. When it is away for long,',
    'WAL piles up on the server: limit that with max_slot_wal_keep_size, and drop the slot when you stop for good.',
  ],
  options: [
    databaseOption,
    {
      flags: '--slot <name>',
      description: 'the replication slot (default: helvino_ and the name of the database)',
    },
    { flags: '--every <duration>', description: 'how often the open segment is stored', default: '1s' },
  ],
  examples: ['helvino wal stream', 'helvino wal stream --every 500ms'],
  async run(context, options) {
    const host = await openAsHost(context, options, { everywhere: true });
    const intervalMs = parseDuration(textOption(options, 'every') ?? '1s') * 1000;
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
      slot: textOption(options, 'slot') ?? `helvino_${host.name.replace(/[^a-z0-9_]/g, '_')}`,
      intervalMs,
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
  summary: 'show which WAL is stored, its gaps, and what that lets each backup recover to',
  options: [
    databaseOption,
    copyOption,
    { flags: '--no-server', description: 'do not ask the server how far it is' },
  ],
  examples: ['helvino wal status', 'helvino wal status --json'],
  async run(context, options) {
    const host = await openAsHost(context, options);
    const connection = options.server === false ? undefined : await host.connection();
    const data = await walStatus(host.repositoryHandle, host.name, connection);
    return { data, text: statusText(data) };
  },
};

function statusText(data: WalStatus): string[] {
  if (data.ranges.length === 0)
    return ['no WAL is stored yet: run `helvino wal stream`, or `helvino wal receive`'];
  const ranges = data.ranges.map((r) => [String(r.timeline), r.from, r.to, formatBytes(r.bytes)]);
  const windows = data.windows.map((w) => [w.backup, w.from, w.to, String(w.timeline)]);
  const lag =
    data.lag &&
    (data.lag.bytes === 0
      ? 'the server is not ahead'
      : `the server is ${formatBytes(data.lag.bytes)} ahead, ${formatDuration(data.lag.seconds)} since the last store`);
  return [
    ...table(
      [{ title: 'timeline' }, { title: 'stored from' }, { title: 'to' }, { title: 'bytes', align: 'right' }],
      ranges,
    ),
    '',
    ...(windows.length > 0
      ? table(
          [{ title: 'backup' }, { title: 'recoverable from' }, { title: 'to' }, { title: 'timeline' }],
          windows,
        )
      : ['no backup yet: WAL alone recovers nothing']),
    '',
    `${data.pieces} pieces, ${formatBytes(data.size)}; the newest was stored ${data.newest ? formatTime(new Date(data.newest)) : 'never'}`,
    ...(lag ? [lag] : []),
  ];
}

export const walVerbs: readonly Verb[] = [stream, status];
