import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { completionScript } from './completion.ts';
import { loadVerbs } from './verbs/index.ts';

const verbs = await loadVerbs();

/** What bash would offer after these words. */
function offers(...words: string[]): string[] {
  const script = [
    completionScript('bash', verbs),
    `COMP_WORDS=(${words.map((word) => `'${word}'`).join(' ')})`,
    `COMP_CWORD=${words.length - 1}`,
    '_helvino',
    'printf "%s\\n" "${' + 'COMPREPLY[@]}"',
  ].join('\n');
  return execFileSync('bash', ['-c', script], { encoding: 'utf8', cwd: '/proc/self' }).trim().split('\n');
}

test('bash, the first word – the verbs that begin so', () => {
  assert.deepEqual(offers('helvino', 'ver'), ['verify', 'version']);
});

test('bash, a verb – its options and the global ones', () => {
  assert.deepEqual(offers('helvino', 'backup', '--la'), ['--label']);
  assert.deepEqual(offers('helvino', 'backup', '--js'), ['--json']);
});

test('bash, a verb with verbs under it – these, then their options', () => {
  assert.deepEqual(offers('helvino', 'config', ''), ['check', 'show']);
  assert.deepEqual(offers('helvino', 'config', 'show', '--js'), ['--json']);
});

test('zsh – the same script, through its bash completion', () => {
  assert.match(completionScript('zsh', verbs), /^autoload -U \+X bashcompinit && bashcompinit\n_helvino/);
});

test('fish – every verb with its summary, quotes escaped', () => {
  const script = completionScript('fish', verbs);
  for (const verb of verbs)
    assert.ok(script.includes(`-d '${verb.summary.replaceAll("'", "\\'")}'`), verb.name);
  assert.match(script, /__fish_seen_subcommand_from backup' -l label/);
});
