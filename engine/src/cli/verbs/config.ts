import { plural } from '../../base/format.ts';
import { configWarnings, showableConfig } from '../../config/index.ts';
import { facts } from '../output/table.ts';
import type { Verb } from '../verb.ts';

const check: Verb = {
  name: 'config check',
  summary: 'check helvino.yaml',
  examples: ['helvino config check', 'helvino config check --config /etc/helvino/helvino.yaml'],
  async run(context) {
    const { file, config } = await context.config();
    const databases = Object.keys(config.databases);
    const warnings = configWarnings(config).length;
    return {
      data: { file, databases, repositories: Object.keys(config.repositories) },
      text: facts([
        ['file', file],
        ['databases', databases.join(', ') || 'none'],
        ['repositories', Object.keys(config.repositories).join(', ')],
        ['state', warnings === 0 ? 'valid' : `valid, with ${plural(warnings, 'warning')}`],
      ]),
    };
  },
};

const show: Verb = {
  name: 'config show',
  summary: 'show the configuration with all defaults, without secrets',
  examples: ['helvino config show --json'],
  async run(context) {
    const { file, config: whole } = await context.config();
    const config = showableConfig(whole);
    return { data: { file, config }, text: JSON.stringify(config, null, 2).split('\n') };
  },
};

export const configVerbs: readonly Verb[] = [check, show];
