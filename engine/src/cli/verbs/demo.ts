import { formatBytes, formatDuration } from '../../base/format.ts';
import { type DemoResult, demo } from '../../operations/index.ts';
import { drillText } from '../output/drill-text.ts';
import { table } from '../output/table.ts';
import type { Verb } from '../verb.ts';

export const demoVerb: Verb = {
  name: 'demo',
  summary:
    'everything once, on a PostgreSQL of its own: backup, load, incremental backup, a restore that is proven',
  options: [
    { flags: '--keep', description: 'keep the server, the repository, the keys and a configuration' },
  ],
  examples: ['helvino demo', 'helvino demo --keep'],
  exits: [{ status: 1, meaning: 'the restore was not proven' }],
  async run(context, options) {
    const result = await demo({ ...context, keep: options.keep === true });
    return { data: result, text: demoText(result), exit: result.drill.verdict === 'proven' ? 0 : 1 };
  },
};

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
    ...drillText(result.drill),
    '',
    `All of it took ${formatDuration(result.seconds)}. ${result.kept ? `Everything is in ${result.kept} (try: helvino list --config ${result.kept}/helvino.yaml).` : 'Nothing was left behind.'}`,
    '',
    'Your own database:',
    '  npx helvino init --url postgresql://USER@HOST/DATABASE --path /var/backups/helvino',
    '  npx helvino backup',
    '  npx helvino drill --identity helvino-recovery-identity.txt',
  ];
}
