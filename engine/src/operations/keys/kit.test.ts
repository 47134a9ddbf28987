import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderKit } from './kit.ts';

const facts = {
  made: 'today',
  repositoryId: 'id',
  place: '/srv',
  format: 1,
  recipients: [],
  catalogKeyIds: [],
  databases: [],
  program: '0.1.0',
};

test('where Helvino comes from – a command that can be typed', () => {
  const of = (source: string) => renderKit({ ...facts, source });
  assert.ok(
    of('https://git.example.com/it.git').includes(
      '<pre>git clone -- https://git.example.com/it.git helvino &amp;&amp; cd helvino &amp;&amp; npm ci</pre>',
    ),
  );
  assert.ok(
    of('/media/usb stick/helvino-0.1.0.tgz').includes(`npm install '/media/usb stick/helvino-0.1.0.tgz'`),
  );
  assert.doesNotMatch(of('x; rm -rf /'), /clone -- x; rm/);
});

test('a kit – what is in it is text, never markup, and its commands can be copied as they are', () => {
  const evil = `<script>"&'`;
  const html = renderKit({
    made: evil,
    repositoryId: evil,
    place: `/back ups/it's`,
    format: 1,
    recipients: [evil],
    catalogKeyIds: [evil],
    databases: [{ name: evil, backups: 1, newest: evil, postgres: evil }],
    identity: evil,
    program: evil,
  });
  assert.doesNotMatch(html, /<script/);
  assert.match(html, /Helvino itself comes from/);
  assert.ok(html.includes(`--repository-path '/back ups/it'\\''s' --identity`));
});
