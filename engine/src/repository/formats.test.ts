import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import { HelvinoError } from '../base/errors.ts';
import { ContentHasher, deriveKey, newKey, seal, unseal } from './crypto.ts';
import { openEnvelope, sealEnvelope } from './envelope.ts';
import type { FileEntry } from './extents.ts';
import { decodeFileBlock, encodeFileBlock } from './file-block.ts';
import { catalogRing, formatCatalogRing, parseCatalogRing } from './keys.ts';
import { decodeManifest, encodeManifest, type ManifestDraft } from './manifest.ts';
import { PackBuilder, packCapacity } from './pack-builder.ts';
import {
  compress,
  decodeDirectory,
  decodeHeader,
  decompress,
  directoryLength,
  headerLength,
  openChunk,
  trailerLength,
} from './pack-format.ts';
import { BinaryReader, BinaryWriter } from './varint.ts';

const hex = (bytes: number) =>
  fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((b) => Buffer.from(b).toString('hex'));
const count = fc.integer({ min: 0, max: 2 ** 40 });
const chunk = fc
  .record({
    pack: hex(16),
    keyId: hex(8),
    index: fc.nat(1000),
    offset: count,
    stored: fc.nat(1 << 20),
    raw: fc.integer({ min: 2000, max: 1 << 20 }),
  })
  .chain((ref) =>
    fc.record({
      ref: fc.constant(ref),
      start: fc.nat(999),
      length: fc.integer({ min: 1, max: 1000 }),
      hash: fc.option(fc.uint8Array({ minLength: 16, maxLength: 16 }), { nil: undefined }),
    }),
  );
const extent = fc.oneof(
  fc
    .integer({ min: 1, max: 2 ** 33 })
    .map((length) => ({ length, start: 0, chunk: undefined, hash: undefined })),
  chunk.map(({ ref, start, length, hash }) => ({ length, start, chunk: ref, hash })),
);
const name = fc.stringMatching(/^[a-z0-9_]{1,12}(\/[a-z0-9_.-]{1,12}x){0,3}$/);
const fileEntry: fc.Arbitrary<FileEntry> = fc
  .record({
    path: name,
    type: fc.constantFrom('file', 'directory', 'symlink'),
    mode: fc.nat(0o7777),
    uid: count,
    gid: count,
    mtime: count,
    chunkSize: count,
    extents: fc.array(extent, { maxLength: 6 }),
  })
  .map(({ type, extents, chunkSize, ...rest }) => {
    if (type !== 'file')
      return {
        ...rest,
        type,
        size: 0,
        chunkSize: 0,
        extents: [],
        ...(type === 'symlink' ? { target: '/mnt/ts' } : {}),
      } as FileEntry;
    return {
      ...rest,
      type,
      chunkSize,
      extents,
      size: extents.reduce((sum, e) => sum + e.length, 0),
    } as FileEntry;
  });

/** Runs `read`; what it throws must be a HelvinoError of the repository. */
function onlyOurErrors(read: () => unknown): void {
  try {
    read();
  } catch (thrown) {
    assert.ok(thrown instanceof HelvinoError, `threw ${String(thrown)}`);
    assert.match(thrown.code, /^(REPOSITORY_|KEY_)/);
  }
}

test('integers and texts – come back as they were written', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.maxSafeNat(), fc.string())), (values) => {
      const writer = new BinaryWriter();
      for (const value of values)
        typeof value === 'number' ? writer.uint(value) : writer.text(value.toWellFormed());
      const reader = new BinaryReader(writer.take(), 'test');
      for (const value of values)
        assert.equal(
          typeof value === 'number' ? reader.uint() : reader.text(),
          typeof value === 'number' ? value : value.toWellFormed(),
        );
      reader.end();
    }),
  );
});

test('file entries – come back as they were written', () => {
  fc.assert(
    fc.property(fc.array(fileEntry, { maxLength: 8 }), (files) => {
      const hexed = (list: readonly FileEntry[]) =>
        JSON.parse(
          JSON.stringify(
            list.map((f) => ({
              ...f,
              extents: f.extents.map((e) => ({ ...e, hash: e.hash && Buffer.from(e.hash).toString('hex') })),
            })),
          ),
        );
      assert.deepEqual(hexed([...decodeFileBlock(encodeFileBlock(files), 'test')]), hexed(files));
    }),
    { numRuns: 300 },
  );
});

test('a file block that was cut, changed or made up – a clear error or a valid list, never anything else', () => {
  fc.assert(
    fc.property(
      fc.array(fileEntry, { minLength: 1, maxLength: 4 }),
      fc.nat(),
      fc.nat(255),
      fc.boolean(),
      (files, at, byte, cut) => {
        const bytes = encodeFileBlock(files);
        const place = at % bytes.length;
        const bad = cut ? bytes.subarray(0, place) : Buffer.from(bytes);
        if (!cut) bad[place] = byte;
        onlyOurErrors(() => [...decodeFileBlock(bad, 'test')]);
      },
    ),
    { numRuns: 2000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) =>
      onlyOurErrors(() => [...decodeFileBlock(bytes, 'test')]),
    ),
    { numRuns: 2000 },
  );
});

test('a path that leaves the directory – refused', () => {
  for (const path of ['../etc/passwd', 'a/../../b', '/etc/passwd', 'a//b', '.', 'a\0b']) {
    const entry: FileEntry = {
      path,
      type: 'directory',
      mode: 0o700,
      uid: 0,
      gid: 0,
      mtime: 0,
      size: 0,
      chunkSize: 0,
      extents: [],
    };
    assert.throws(() => [...decodeFileBlock(encodeFileBlock([entry]), 'test')], {
      code: 'REPOSITORY_DAMAGED',
    });
  }
});

const catalogKey = newKey();
const dataKey = newKey();
const hasher = new ContentHasher(deriveKey(catalogKey, Buffer.alloc(0), 'content hash'));
const packId = randomBytes(16).toString('hex');

function buildPack(chunks: readonly Uint8Array[]) {
  const identity = { id: packId, keyId: '11'.repeat(8), catalogKeyId: '22'.repeat(8), kind: 'data' as const };
  const builder = new PackBuilder({
    buffer: Buffer.alloc(packCapacity),
    identity,
    key: dataKey,
    catalogKey,
    hasher,
    level: 1,
  });
  const placed = chunks.map((plain) =>
    builder.add(plain, [{ length: plain.length, hash: hasher.hash(plain) }]),
  );
  return { object: Buffer.concat(builder.finish()), placed };
}

function readDirectory(object: Buffer) {
  decodeHeader(object.subarray(0, headerLength), packId);
  const length = directoryLength(object.subarray(-trailerLength), object.length, packId);
  const body = object.length - trailerLength - length;
  return decodeDirectory(
    object.subarray(0, headerLength),
    object.subarray(body, body + length),
    catalogKey,
    packId,
  );
}

test('a pack – its chunks come back, compressed or not, and its directory describes them', () => {
  const chunks = [Buffer.alloc(8192, 'abc'), randomBytes(5000), Buffer.from([1]), randomBytes(1 << 20)];
  const { object, placed } = buildPack(chunks);
  const key = deriveKey(dataKey, Buffer.from(packId, 'hex'), 'chunk');
  for (const [i, place] of placed.entries()) {
    const sealed = object.subarray(place.offset, place.offset + place.stored);
    assert.deepEqual(
      Buffer.from(openChunk(key, { pack: packId, index: i, raw: place.raw }, sealed)),
      chunks[i],
    );
  }
  assert.deepEqual(
    readDirectory(object).map((c) => [c.stored, c.raw, c.segments.length]),
    placed.map((p) => [p.stored, p.raw, 1]),
  );
});

test('a chunk under another number, another pack or another key – does not open', () => {
  const { object, placed } = buildPack([randomBytes(100), randomBytes(100)]);
  const key = deriveKey(dataKey, Buffer.from(packId, 'hex'), 'chunk');
  const sealed = object.subarray(placed[0]!.offset, placed[0]!.offset + placed[0]!.stored);
  assert.throws(() => openChunk(key, { pack: packId, index: 1, raw: 100 }, sealed), {
    code: 'REPOSITORY_DAMAGED',
  });
  assert.throws(() => openChunk(key, { pack: 'ff'.repeat(16), index: 0, raw: 100 }, sealed), {
    code: 'REPOSITORY_DAMAGED',
  });
  assert.throws(() => openChunk(newKey(), { pack: packId, index: 0, raw: 100 }, sealed), {
    code: 'REPOSITORY_DAMAGED',
  });
});

test('any byte of a pack changed – header, directory, trailer or chunk says so', () => {
  const plain = Buffer.alloc(3000, 'xyz');
  const { object, placed } = buildPack([plain]);
  const key = deriveKey(dataKey, Buffer.from(packId, 'hex'), 'chunk');
  for (let at = 0; at < object.length; at++) {
    const bad = Buffer.from(object);
    bad[at] = bad[at]! ^ 0x20;
    const readAll = () => {
      readDirectory(bad);
      openChunk(
        key,
        { pack: packId, index: 0, raw: plain.length },
        bad.subarray(placed[0]!.offset, placed[0]!.offset + placed[0]!.stored),
      );
    };
    assert.throws(
      readAll,
      (thrown) => thrown instanceof HelvinoError && thrown.code === 'REPOSITORY_DAMAGED',
      `byte ${at}`,
    );
  }
});

test('random bytes as a pack – never anything but a clear error', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 60, maxLength: 400 }), (bytes) => {
      onlyOurErrors(() => readDirectory(Buffer.from(bytes)));
    }),
    { numRuns: 1000 },
  );
});

test('a directory that was sealed with anything in it – never anything but a clear error', () => {
  const { object } = buildPack([randomBytes(100), randomBytes(100), randomBytes(100)]);
  const header = object.subarray(0, headerLength);
  const key = deriveKey(catalogKey, header.subarray(8, 24), 'directory');
  const length = directoryLength(object.subarray(-trailerLength), object.length, packId);
  const from = object.length - trailerLength - length;
  const packed = unseal(key, object.subarray(from, from + length), header)!;
  const good = Buffer.from(decompress(packed, 1, 1 << 20, 'it'));
  const read = (plain: Uint8Array) =>
    onlyOurErrors(() => decodeDirectory(header, seal(key, compress(plain, 3), header), catalogKey, packId));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (rest) => read(Buffer.concat([Buffer.of(1), rest]))),
  );
  const change = fc.record({
    at: fc.nat(good.length - 1),
    bytes: fc.uint8Array({ maxLength: 10 }),
    skip: fc.nat(10),
  });
  fc.assert(
    fc.property(change, ({ at, bytes, skip }) =>
      read(Buffer.concat([good.subarray(0, at), bytes, good.subarray(at + skip)])),
    ),
    { numRuns: 2000 },
  );
});

const draft: ManifestDraft = {
  id: '20261125T120000Z-00000000',
  database: 'shop',
  kind: 'full',
  notes: { version: '1.4.2' },
  started: '2026-11-25T12:00:00Z',
  finished: '2026-11-25T12:00:09Z',
  program: '0.1.0',
  hashKeyId: 'aa',
  packs: [],
  keys: [],
  lastFull: '2026-11-25T12:00:00Z',
  blocks: [],
  sections: {},
  totals: { files: 0, bytes: 0, received: 0, fresh: 0, stored: 0, referenced: 0 },
  facts: { method: 'physical' },
};

test('a manifest – opens under its own name only, and with its own key only', () => {
  const ring = catalogRing([newKey()]);
  const bytes = encodeManifest(draft, ring, 'backups/shop/a');
  assert.equal(decodeManifest(bytes, ring, 'backups/shop/a').notes.version, '1.4.2');
  assert.throws(() => decodeManifest(bytes, ring, 'backups/shop/b'), { code: 'REPOSITORY_DAMAGED' });
  assert.throws(() => decodeManifest(bytes, catalogRing([newKey()]), 'backups/shop/a'), {
    code: 'KEY_WRONG',
  });
});

test('a manifest changed or cut at any byte – refused', () => {
  const ring = catalogRing([newKey()]);
  const bytes = encodeManifest(draft, ring, 'n');
  for (let at = 0; at < bytes.length; at++) {
    const bad = Buffer.from(bytes);
    bad[at] = bad[at]! ^ 1;
    assert.throws(() => decodeManifest(bad, ring, 'n'), HelvinoError);
    assert.throws(() => decodeManifest(bytes.subarray(0, at), ring, 'n'), HelvinoError);
  }
});

test('a manifest of a newer format – said so', () => {
  const ring = catalogRing([newKey()]);
  const newer = sealEnvelope(Buffer.from(JSON.stringify({ ...draft, format: 2 })), {
    ring,
    name: 'n',
    magic: 'HVMANF1\n',
  });
  assert.throws(() => decodeManifest(newer, ring, 'n'), { code: 'REPOSITORY_TOO_NEW' });
});

test('a manifest that lacks what it needs – damaged, not a type error', () => {
  const ring = catalogRing([newKey()]);
  const read = (json: string) => {
    const sealed = sealEnvelope(Buffer.from(json), { ring, name: 'n', magic: 'HVMANF1\n' });
    onlyOurErrors(() => decodeManifest(sealed, ring, 'n'));
  };
  fc.assert(fc.property(fc.json(), read));
  // One that is whole but for one place, which is anything.
  const whole = JSON.parse(
    openEnvelope(encodeManifest(draft, ring, 'n'), { ring, name: 'n', magic: 'HVMANF1\n' }).toString(),
  );
  const pack = { id: 'a'.repeat(32), keyId: 'b'.repeat(16), size: 1000 };
  const packs = fc
    .tuple(fc.constantFrom(...Object.keys(pack), 'structure'), fc.jsonValue())
    .map(([key, value]) => [{ ...pack, [key]: value }]);
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(whole)), fc.oneof(fc.jsonValue(), packs), (key, value) =>
      read(JSON.stringify({ ...whole, [key]: value })),
    ),
    { numRuns: 2000 },
  );
});

test('a proof under the kind of a manifest – does not open', () => {
  const ring = catalogRing([newKey()]);
  const sealed = sealEnvelope(Buffer.from('{}'), { ring, name: 'n', magic: 'HVPROOF\n' });
  assert.throws(() => openEnvelope(sealed, { ring, name: 'n', magic: 'HVMANF1\n' }), {
    code: 'REPOSITORY_DAMAGED',
  });
});

test('a catalog key file – newest first, comments ignored, nonsense refused', () => {
  const [a, b] = [newKey(), newKey()];
  const ring = parseCatalogRing(`# comment\n${formatCatalogRing([a, b])}`, 'file');
  assert.deepEqual(ring.current, a);
  assert.deepEqual(ring.find(ring.ids[1]!), b);
  assert.throws(() => parseCatalogRing('helvino-catalog-key-1:short', 'file'), { code: 'KEY_WRONG' });
  assert.throws(() => parseCatalogRing('# nothing', 'file'), { code: 'KEY_MISSING' });
});
