import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cuts, pieces } from '../../test/splits.ts';
import { type TestTarEntry, testTar, testTarHeader, withChecksum } from '../../test/tar-writer.ts';
import { HelvinoError } from '../base/errors.ts';
import { type TarEntry, TarReader } from './tar-reader.ts';

interface Read {
  readonly header: TarEntry;
  readonly content: Buffer;
}

function read(parts: Iterable<Uint8Array>): Read[] {
  const result: Read[] = [];
  let open: { header: TarEntry; parts: Buffer[] } | undefined;
  const reader = new TarReader({
    entry: (header) => {
      assert.equal(open, undefined);
      open = { header, parts: [] };
    },
    data: (bytes) => {
      assert.ok(bytes.length > 0);
      open!.parts.push(Buffer.from(bytes));
    },
    entryEnd: () => {
      result.push({ header: open!.header, content: Buffer.concat(open!.parts) });
      open = undefined;
    },
  });
  for (const part of parts) reader.push(part);
  reader.end();
  assert.equal(open, undefined);
  return result;
}

const sample: readonly TestTarEntry[] = [
  { path: 'backup_label', content: Buffer.from('START WAL LOCATION: 0/2000028\n'), mode: 0o600 },
  { path: 'base/', type: 'directory', mode: 0o700 },
  { path: 'base/1/', type: 'directory', mode: 0o700 },
  { path: 'base/1/1259', content: Buffer.alloc(24_576, 7) },
  { path: 'base/1/empty' },
  { path: 'pg_tblspc/16384/', type: 'symlink', linkTarget: '/srv/space one' },
  { path: 'base/1/block', content: Buffer.alloc(512, 9), mtime: 0 },
  { path: 'global/pg_control', content: Buffer.alloc(8192, 1) },
];

test('an archive as PostgreSQL writes it – every entry comes out with its facts and content', () => {
  const result = read([testTar(sample)]);
  assert.deepEqual(
    result.map(({ header, content }) => [header.path, header.type, header.size, content.length]),
    [
      ['backup_label', 'file', 30, 30],
      ['base', 'directory', 0, 0],
      ['base/1', 'directory', 0, 0],
      ['base/1/1259', 'file', 24_576, 24_576],
      ['base/1/empty', 'file', 0, 0],
      ['pg_tblspc/16384', 'symlink', 0, 0],
      ['base/1/block', 'file', 512, 512],
      ['global/pg_control', 'file', 8192, 8192],
    ],
  );
  const label = result[0]!;
  assert.deepEqual(label.header, {
    path: 'backup_label',
    type: 'file',
    linkTarget: undefined,
    size: 30,
    mode: 0o600,
    uid: 101,
    gid: 104,
    mtime: 1_700_000_000,
  });
  assert.equal(label.content.toString(), 'START WAL LOCATION: 0/2000028\n');
  assert.equal(result[5]!.header.linkTarget, '/srv/space one');
});

test('without the end blocks – the same entries', () => {
  assert.deepEqual(read([testTar(sample, { end: false })]), read([testTar(sample)]));
});

test('byte by byte – the same entries', () => {
  assert.deepEqual(read(pieces(testTar(sample), 1)), read([testTar(sample)]));
});

test('random entries in random pieces – what was written comes out', () => {
  const entry = fc.record(
    {
      path: fc.stringMatching(/^[a-z0-9_]{1,20}(\/[a-z0-9_.]{1,20}x){0,3}$/),
      content: fc.uint8Array({ maxLength: 3000 }),
      mode: fc.integer({ min: 0, max: 0o7777 }),
      uid: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
      mtime: fc.integer({ min: 0, max: 2 ** 34 }),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(
      fc.array(entry, { maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 1500 }), { minLength: 1 }),
      (entries, lengths) => {
        const result = read(cuts(testTar(entries), lengths));
        assert.deepEqual(
          result.map(({ header, content }) => ({
            path: header.path,
            content: new Uint8Array(content),
            mode: header.mode,
            uid: header.uid,
            mtime: header.mtime,
          })),
          entries,
        );
      },
    ),
  );
});

test('a size that does not fit in octal – is read from base 256', () => {
  const size = 3 * 2 ** 40;
  let seen = 0;
  const reader = new TarReader({ entry: (header) => (seen = header.size), data() {}, entryEnd() {} });
  reader.push(testTarHeader({ path: 'huge', size }));
  assert.equal(seen, size);
});

test('a ustar prefix – is part of the path', () => {
  assert.equal(read([testTar([{ path: 'file', prefix: 'deep/er' }])])[0]!.header.path, 'deep/er/file');
});

test('zero blocks after the end – are taken', () => {
  assert.equal(read([testTar(sample), Buffer.alloc(10_240)]).length, sample.length);
});

function refuses(parts: Iterable<Uint8Array>, message: RegExp): HelvinoError {
  try {
    read(parts);
  } catch (thrown) {
    assert.ok(thrown instanceof HelvinoError, String(thrown));
    assert.equal(thrown.code, 'PROTOCOL');
    assert.match(thrown.message, message);
    return thrown;
  }
  assert.fail('nothing was thrown');
}

test('cut within a file or a header – PROTOCOL', () => {
  const tar = testTar([{ path: 'a', content: Buffer.alloc(1000, 1) }]);
  refuses([tar.subarray(0, 512 + 999)], /ends 1 bytes before the end of a file/);
  refuses([tar.subarray(0, 100)], /ends within a header/);
});

test('bytes after the end – PROTOCOL', () => {
  refuses([testTar(sample), testTarHeader({ path: 'late' })], /after the end/);
});

test('a flipped bit in a header – PROTOCOL with the offset of that header', () => {
  const tar = testTar([
    { path: 'a', content: Buffer.alloc(600, 1) },
    { path: 'b', content: Buffer.alloc(600, 1) },
  ]);
  tar[1536 + 3]! ^= 4;
  assert.deepEqual(refuses([tar], /checksum/).context, { offset: 1536 });
});

for (const path of ['/etc/passwd', '../up', 'a/../../b', 'a/..', '..']) {
  test(`the path ${path} – PROTOCOL`, () => {
    refuses([testTar([{ path }])], /leads out of the archive/);
  });
}

test('entries that PostgreSQL never sends – PROTOCOL', () => {
  for (const flag of ['L', 'K', 'x', 'g', '1', '3'])
    refuses([testTar([{ path: 'a', flag }])], /not supported/);
  refuses([testTar([{ path: 'a', type: 'symlink' }])], /without a target/);
  refuses([testTar([{ path: 'a', type: 'directory', size: 5 }])], /content/);
  refuses([testTar([{ path: '' }])], /without a name/);
  refuses([withChecksum(testTarHeader({ path: 'a' }).fill('9', 124, 126))], /size is not a number/);
  refuses([withChecksum(testTarHeader({ path: 'a' }).fill(0xff, 0, 2))], /UTF-8/);
  refuses([withChecksum(testTarHeader({ path: 'a' }).fill(0x80, 124, 136))], /too large/);
});

test('garbage and damaged archives – never anything but HelvinoError PROTOCOL', () => {
  const good = testTar(sample);
  const damaged = fc
    .array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 })
    .map((flips) => {
      const bytes = Buffer.from(good);
      for (const [at, value] of flips) bytes[at] = value;
      return new Uint8Array(bytes);
    });
  const header = fc
    .uint8Array({ minLength: 512, maxLength: 512 })
    .map((bytes) => new Uint8Array(withChecksum(Buffer.from(bytes))));
  const input = fc.oneof(fc.uint8Array({ maxLength: 2000 }), damaged, header);
  fc.assert(
    fc.property(input, fc.integer({ min: 1, max: 700 }), (bytes, size) => {
      try {
        read(pieces(bytes, size));
      } catch (thrown) {
        assert.ok(thrown instanceof HelvinoError && thrown.code === 'PROTOCOL', String(thrown));
      }
    }),
    { numRuns: 500 },
  );
});
