import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderKit } from './kit.ts';

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
  assert.ok(html.includes(`--repository-path '/back ups/it'\\''s' --identity`));
});
