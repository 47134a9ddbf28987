import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseLsn } from './lsn.ts';
import { pageStart } from './quiet-point.ts';

test('a position right behind a page header – the begin of the page; any other stays', () => {
  const cases = [
    ['0/1002018', '0/1002000'],
    ['0/1000028', '0/1000000'],
    ['0/1000018', '0/1000018'],
    ['0/1002028', '0/1002028'],
    ['0/1002000', '0/1002000'],
    ['0/1002020', '0/1002020'],
    ['5/FF000028', '5/FF000000'],
  ] as const;
  for (const [lsn, expected] of cases)
    assert.equal(pageStart(parseLsn(lsn), 16 << 20), parseLsn(expected), lsn);
});
