import type { Verb } from '../verb.ts';

export const versionVerb: Verb = {
  name: 'version',
  summary: 'print the versions of Helvino and Node.js',
  examples: ['helvino version --json'],
  async run(context) {
    const data = {
      helvino: context.program,
      node: process.version,
      platform: `${process.platform}-${process.arch}`,
    };
    return { data, text: [`helvino ${data.helvino} (Node.js ${data.node}, ${data.platform})`] };
  },
};
