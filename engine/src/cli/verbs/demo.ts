import { formatBytes, formatDuration, formatTime } from '../../base/format.ts';
import { type DemoAccident, type DemoResult, demo } from '../../operations/demo/index.ts';
import { drillText } from '../output/drill-text.ts';
import { table } from '../output/table.ts';
import type { Verb } from '../verb.ts';

export const demoVerb: Verb = {
  name: 'demo',
  summary:
    'everything once, on a PostgreSQL of its own: backups, rows deleted and rescued, a restore that is proven',
  options: [
    { flags: '--keep', description: 'keep the server, the repository, the keys and a configuration' },
  ],
  examples: ['helvino demo', 'helvino demo --keep'],
  exits: [{ status: 1, meaning: 'the restore was not proven, or rows were not brought back' }],
  async run(context, options) {
    const result = await demo({ ...context, keep: options.keep === true });
    const good = result.drill.verdict === 'proven' && result.accident.same;
    return { data: result, text: demoText(result), exit: good ? 0 : 1 };
  },
};

function accidentText({
  organization,
  deleted,
  found,
  rescued,
  later,
  same,
  seconds,
}: DemoAccident): string[] {
  const { plan, apply } = seconds;
  const target = `before:xid:${found.xid}`;
  return [
    `Under load someone deleted all ${deleted.conversations} conversations of ${organization} (key demo), with ${deleted.messages} messages.`,
    `$ helvino find --deletes-over 10`,
    `  transaction ${found.xid}, ${formatTime(new Date(found.time))}, ${found.lsn}: ${found.deleted} rows deleted`,
    `$ helvino rescue plan --root organizations --key demo --before ${target} --out demo.plan`,
    `  a server as of just before it, compared with today: ${formatDuration(plan)}`,
    '$ helvino rescue apply demo.plan',
    `  ${rescued} rows brought back in ${formatDuration(apply)}`,
    same
      ? `They are what they were, and the ${later} messages that others wrote meanwhile are all there.`
      : 'They are NOT what they were: please report this.',
  ];
}

function demoText(result: DemoResult): string[] {
  const rows = result.backups.map((b) => [
    b.kind,
    formatBytes(b.bytes),
    formatBytes(b.received),
    formatBytes(b.stored),
    formatDuration(b.seconds),
  ]);
  const [full, incremental] = result.backups;
  const saved = full && incremental ? 1 - incremental.stored / full.stored : 0;
  return [
    '',
    `${result.rows} rows in organizations, conversations and messages; then ${result.changedRows} rows were changed.`,
    '',
    ...table(
      [
        { title: 'backup' },
        { title: 'cluster', align: 'right' },
        { title: 'received', align: 'right' },
        { title: 'stored', align: 'right' },
        { title: 'time', align: 'right' },
      ],
      rows,
    ),
    `The incremental backup restores alone and took ${Math.round(saved * 100)} % less space than the full one.`,
    '',
    ...accidentText(result.accident),
    '',
    ...drillText(result.drill),
    ...(result.kept ? [`The signed report, as one would show it to an auditor: ${result.report}`] : []),
    '',
    `All of it took ${formatDuration(result.seconds)}. ${result.kept ? `Everything is in ${result.kept} (try: helvino list --config ${result.kept}/helvino.yaml).` : 'Nothing was left behind.'}`,
    '',
    'Your own database:',
    '  npx helvino init --url postgresql://USER@HOST/DATABASE --path /var/backups/helvino',
    '  npx helvino backup',
    '  npx helvino drill --identity helvino-recovery-identity.txt',
  ];
}
