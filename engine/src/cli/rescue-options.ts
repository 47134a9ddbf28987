/** Options that the verbs of rescue share with `import`, and what they mean. */
import { type DatabaseConfig, parseDuration } from '../config/index.ts';
import type { applyRescue, PlanOptions, RescueRoot } from '../operations/rescue/index.ts';
import { databaseOption } from './open.ts';
import { urlOptions } from './server.ts';
import { type OptionValues, textOption } from './verb.ts';

export const dbnameOption = {
  flags: '--dbname <name>',
  description: 'which database of the server (default: that of the connection)',
};

/** Which values and columns stand in the way, and what then. */
export const conflictOptions = [
  {
    flags: '--on-conflict <choice>',
    description:
      'a unique value that another row has now: stop, skip (the row and what refers to it stay away), replace (the other row goes)',
    default: 'stop',
    choices: ['stop', 'skip', 'replace'],
  },
  {
    flags: '--on-schema-change <choice>',
    description: 'columns that were added or dropped since: stop, or default (added ones get their default)',
    default: 'stop',
    choices: ['stop', 'default'],
  },
];

export const applyOptions = [
  databaseOption,
  ...urlOptions,
  dbnameOption,
  { flags: '--dry-run', description: 'do everything, check it, and roll it back' },
  { flags: '--confirm <key>', description: "the root's key again, instead of typing it" },
  {
    flags: '--on-moved <choice>',
    description: 'rows that are no longer as the file expects: stop, or skip (they are left as they are)',
    default: 'stop',
    choices: ['stop', 'skip'],
  },
  {
    flags: '--triggers <choice>',
    description:
      'off (session_replication_role = replica), fire, or auto: off where the role may, else only where there are none',
    default: 'auto',
    choices: ['auto', 'off', 'fire'],
  },
  { flags: '--lock-timeout <duration>', description: 'how long to wait for a lock', default: '5s' },
  { flags: '--statement-timeout <duration>', description: 'how long one statement may take', default: '1h' },
];

export type ApplyCommon = Omit<Parameters<typeof applyRescue>[0], 'planFile' | 'undoFile'>;

/** What the options of `applyOptions` say. */
export function applySettings(
  options: OptionValues,
): Pick<ApplyCommon, 'onMoved' | 'triggers' | 'lockTimeoutMs' | 'statementTimeoutMs'> {
  return {
    onMoved: textOption(options, 'onMoved') as ApplyCommon['onMoved'],
    triggers: textOption(options, 'triggers') as ApplyCommon['triggers'],
    lockTimeoutMs: Math.round(parseDuration(textOption(options, 'lockTimeout') ?? '5s') * 1000),
    statementTimeoutMs: Math.round(parseDuration(textOption(options, 'statementTimeout') ?? '1h') * 1000),
  };
}

export function modelOf(settings: DatabaseConfig['rescue'] | undefined): PlanOptions['model'] {
  return { references: settings?.references ?? [], shared: settings?.shared ?? [] };
}

/** What is typed to confirm: the root's key. */
export function confirmationOf(root: RescueRoot | undefined, database: string): string {
  const values = Object.values(root?.where ?? {});
  return values.length === 0 ? database : values.join(',');
}
