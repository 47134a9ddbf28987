import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { createContext } from '../context.ts';
import { configVerbs } from './config.ts';
import { doctorVerb } from './doctor.ts';
import { initVerb } from './init.ts';

test('a secret in the URL of a file from before – config and doctor warn and go on, and never show it; init refuses it', async (t) => {
  const cwd = await mkdtemp(join(tmpdir(), 'hv-config-verb-'));
  t.after(() => rm(cwd, { recursive: true }));
  const contextFor = () => {
    const stderr = new PassThrough();
    const context = createContext({
      env: {},
      cwd,
      signal: new AbortController().signal,
      options: { json: true, quiet: false },
      program: '0',
      stdin: new PassThrough(),
      stdout: new PassThrough(),
      stderr,
    });
    return { context, said: () => String(stderr.read() ?? '') };
  };
  const [url, secretUrl] = [
    'postgresql://u@127.0.0.1:1/x',
    'postgresql://u@127.0.0.1:1/x?sslpassword=geheim',
  ];
  const init = (wanted: string) =>
    initVerb.run(contextFor().context, { url: wanted, path: 'repository', check: false }, []);
  await assert.rejects(init(secretUrl), { code: 'USAGE', message: /the URL has a secret, sslpassword/ });
  await init(url);
  const file = join(cwd, 'helvino.yaml');
  await writeFile(file, (await readFile(file, 'utf8')).replace(url, secretUrl));

  for (const verb of [...configVerbs, doctorVerb]) {
    const { context, said } = contextFor();
    const result = await verb.run(context, {}, []);
    await context.config();
    assert.equal(context.warnings.length, 1, verb.name);
    assert.match(
      context.warnings[0]!,
      /helvino\.yaml: databases\.main\.connection\.url: holds a secret \(sslpassword\)/,
    );
    assert.equal(said(), `warning: ${context.warnings[0]}\n`);
    const shown = JSON.stringify(result);
    assert.doesNotMatch(`${shown} ${context.warnings[0]}`, /geheim/);
    const wanted = {
      'config check': 'valid, with 1 warning',
      'config show': 'sslpassword=\\*\\*\\*',
      doctor: 'databases\\.main\\.connection\\.url holds a secret \\(sslpassword\\)',
    }[verb.name];
    assert.match(shown, new RegExp(wanted!), verb.name);
  }
});
