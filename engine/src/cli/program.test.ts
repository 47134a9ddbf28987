import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HelvinoError } from '../base/errors.ts';
import type { CliContext } from './context.ts';
import { buildProgram, firstWord, namedVerb, type ParsedCommand, parseArguments } from './program.ts';
import type { Verb } from './verb.ts';
import { loadVerbs, verbWords } from './verbs/index.ts';

const verbs = await loadVerbs();

async function parse(line: string): Promise<{ parsed: ParsedCommand | undefined; output: string }> {
  let parsed: ParsedCommand | undefined;
  let output = '';
  const write = (text: string) => {
    output += text;
  };
  const program = buildProgram({ verbs, version: '1.2.3', write }, (command) => {
    parsed = command;
  });
  await parseArguments(
    program,
    // As a shell would: double quotes hold words together.
    (line.match(/(?:[^\s"]+|"[^"]*")+/g) ?? []).map((word) => word.replaceAll('"', '')),
  );
  return { parsed, output };
}

async function usageError(line: string): Promise<string> {
  const thrown = await parse(line).then(
    () => assert.fail(`"${line}" was accepted`),
    (error: unknown) => error,
  );
  assert.ok(thrown instanceof HelvinoError && thrown.code === 'USAGE', String(thrown));
  return `${thrown.message} | ${thrown.hint}`;
}

test('global options – the same before and after the verb', async () => {
  for (const line of ['--json --config a.yaml version', 'version --json --config a.yaml']) {
    const { parsed } = await parse(line);
    assert.deepEqual(
      [parsed?.verb.name, parsed?.options.json, parsed?.options.config],
      ['version', true, 'a.yaml'],
    );
  }
});

test('an unknown verb, sub-verb or option – what was meant', async () => {
  assert.equal(await usageError('bakup'), 'unknown command "bakup" | did you mean backup?');
  assert.equal(await usageError('key lsit'), 'unknown command "lsit" | did you mean list?');
  assert.equal(await usageError('backup --lable x'), 'unknown option "--lable" | did you mean --label?');
  assert.match(await usageError(''), /no verb was given \| `helvino --help`/);
  assert.match(await usageError('key'), /no verb was given/);
});

test('a missing argument, a value that is not one of the choices – named', async () => {
  assert.match(await usageError('completion'), /missing required argument "shell"/);
  assert.match(await usageError('backup --checkpoint slow'), /"slow" is invalid.*fast, spread/);
  assert.match(await usageError('version extra'), /too many arguments/);
});

test('an empty value – refused: a variable of the shell that is not set would mean this folder, or the only backup', async () => {
  assert.match(
    await usageError('restore --to-directory ""'),
    /^--to-directory is empty \| .*variable of the shell/,
  );
  assert.match(await usageError('remove ""'), /^<backup> is empty/);
  assert.match(await usageError('backup --note a=b --note ""'), /^--note is empty/);
});

/** Refused before the configuration is read, and so before anything else. */
async function refusedByVerb(line: string): Promise<string> {
  const { parsed } = await parse(line);
  const context = { config: () => assert.fail(`"${line}" was accepted`) } as unknown as CliContext;
  const thrown = await parsed!.verb.run(context, parsed!.options, parsed!.args).catch((error) => error);
  assert.ok(thrown instanceof HelvinoError && thrown.code === 'USAGE', String(thrown));
  return thrown.message;
}

test('backup with what contradicts itself, or would be lost – refused', async () => {
  assert.match(await refusedByVerb('backup --full --incremental'), /--full and --incremental/);
  assert.match(await refusedByVerb('backup --note a=1 --note b=2 --note a=1'), /"a" is given twice/);
  assert.match(await refusedByVerb('backup --note __proto__=1'), /cannot be called "__proto__"/);
  for (const kind of ['physical', 'logical', 'volume']) {
    assert.match(await refusedByVerb(`backup --kind ${kind} --label ${'x'.repeat(1025)}`), /has 1025 bytes/);
    assert.match(await refusedByVerb(`backup --kind ${kind} --label ${'ü'.repeat(513)}`), /has 1026 bytes/);
    assert.match(await refusedByVerb(`backup --kind ${kind} --label "a\u0007b"`), /control character/);
  }
  await assert.rejects(refusedByVerb('backup --note constructor=1 --note toString=2'), /was accepted/);
});

test('help and version – printed, no verb runs', async () => {
  for (const line of ['--help', 'help backup', 'backup --help', 'key --help']) {
    const { parsed, output } = await parse(line);
    assert.equal(parsed, undefined, line);
    assert.match(output, /^Usage: helvino/, line);
  }
  assert.equal((await parse('--version')).output, '1.2.3\n');
});

for (const verb of verbs) {
  test(`help of ${verb.name} – has its summary, every option and every example`, async () => {
    const { output } = await parse(`${verb.name} --help`);
    const flat = output.replace(/\s+/g, ' ');
    assert.ok(flat.includes(verb.summary.replace(/\s+/g, ' ')));
    for (const { flags } of verb.options ?? []) assert.ok(flat.includes(flags), flags);
    for (const example of verb.examples) assert.ok(output.includes(example), example);
  });
}

test('every group of verbs – has a description, in the list of all and in its own help', async () => {
  const { output } = await parse('--help');
  for (const group of new Set(verbs.flatMap(({ name }) => name.match(/^\S+(?= )/) ?? []))) {
    assert.match(output, new RegExp(`^  ${group}( \\[.*\\])?  +\\S`, 'm'), group);
    const own = (await parse(`${group} --help`)).output;
    assert.match(own, /^Usage: .*\n\n(?!Options:|Arguments:|Commands:)\S/, group);
  }
});

for (const verb of verbs) {
  test(`details of ${verb.name} – whole paragraphs, as wide as the rest of the help`, async () => {
    const { output } = await parse(`${verb.name} --help`);
    const paragraphs = (verb.details ?? []).join('\n').split('\n\n');
    const shown = output.split('\n\n').map((paragraph) => paragraph.replaceAll('\n', ' '));
    for (const paragraph of paragraphs)
      if (paragraph !== '') assert.ok(shown.includes(paragraph.replaceAll('\n', ' ')), paragraph);
    for (const line of output.split('\n')) {
      const fits = line.length <= 80 || line.trim().startsWith('{') || verb.examples.includes(line.trim());
      assert.ok(fits, line);
    }
  });
}

for (const verb of verbs) {
  const examples = verb.examples.filter((example) => example.startsWith('helvino '));
  if (examples.length === 0) continue;
  test(`examples of ${verb.name} – are accepted as they are printed`, async () => {
    for (const example of examples) {
      const line = example.replace(/^helvino /, '').replace(/ [|>&].*$/, '');
      assert.equal((await parse(line)).parsed?.verb.name, verb.name, example);
    }
  });
}

test('a verb that is a group, too – sub-verbs, and its own argument and options', async () => {
  let seen: ParsedCommand | undefined;
  const make = (name: string, more: Partial<Verb> = {}): Verb => ({
    name,
    summary: name,
    examples: [],
    run: () => assert.fail(),
    ...more,
  });
  const table = [
    make('try', {
      arguments: [{ name: '[what]', description: 'what' }],
      options: [{ flags: '--side <name>', description: 'side', default: 'left' }],
    }),
    make('try list', { options: [{ flags: '--side', description: 'another' }] }),
  ];
  const ask = async (line: string) => {
    const program = buildProgram({ verbs: table, version: '1', write: () => undefined }, (command) => {
      seen = command;
    });
    await parseArguments(program, line.split(' '));
    return [seen?.verb.name, seen?.options.side, seen?.args[0], seen?.options.json];
  };
  assert.deepEqual(await ask('try'), ['try', 'left', undefined, undefined]);
  assert.deepEqual(await ask('try it --side right'), ['try', 'right', 'it', undefined]);
  assert.deepEqual(await ask('try list --json'), ['try list', undefined, undefined, true]);
  assert.deepEqual(await ask('--json try list --side'), ['try list', true, undefined, true]);
});

test('the table of verbs – each is found by its first word, and nothing else is loaded for it', async () => {
  for (const word of new Set(verbWords)) {
    const own = verbs.filter(({ name }) => name.split(' ')[0] === word).map(({ name }) => name);
    assert.ok(own.length > 0, word);
    assert.deepEqual(
      (await loadVerbs(word)).map(({ name }) => name),
      own,
    );
  }
  assert.equal((await loadVerbs('no-such-verb')).length, verbs.length);
});

for (const [line, word] of [
  ['backup --full', 'backup'],
  ['--json --config helvino.yaml wal status', 'wal'],
  ['--config=x.yaml list', 'list'],
  ['--version', 'version'],
  ['--help', undefined],
  ['', undefined],
  ['help backup', 'help'],
] as const) {
  test(`"${line}" – the verbs of ${word}`, () => {
    assert.equal(firstWord(line.split(' ').filter(Boolean)), word);
  });
}

for (const [line, name] of [
  ['backup --fulll', 'backup'],
  ['--json --config helvino.yaml wal status extra', 'wal status'],
  ['drill --paln monthly', 'drill'],
  ['drill list --all', 'drill list'],
  ['key lsit', undefined],
  ['bakcup', undefined],
  ['', undefined],
] as const) {
  test(`"${line}" – an error of ${name ?? 'no verb'}`, () => {
    assert.equal(namedVerb(line.split(' '), verbs), name);
  });
}
