import assert from 'node:assert/strict';
import { test } from 'node:test';
import { placeWords, readPlaces } from './place-words.ts';

test('every option that says where – again for the next command, if it takes it, quoted for the shell; a URL is not repeated', () => {
  const context = { options: { config: "../o'ther/helvino.yaml", json: false, quiet: false } };
  const options = {
    database: 'main',
    copy: 'second region',
    repositoryPath: 's3://bucket/a b',
    url: 'postgresql://u:secret@h/d',
  };
  const config = "--config '../o'\\''ther/helvino.yaml'";
  assert.deepEqual(placeWords(context, options, readPlaces), [
    config,
    '--database main',
    "--copy 'second region'",
    "--repository-path 's3://bucket/a b'",
    '--url URL',
  ]);
  assert.deepEqual(placeWords(context, { database: 'main', copy: 'x' }, ['database']), [
    config,
    '--database main',
  ]);
  assert.deepEqual(placeWords({ options: { json: false, quiet: false } }, {}, readPlaces), []);
});
