/** A record says what was signed, or it is refused: whatever byte was changed. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { HelvinoError } from '../../../base/errors.ts';
import { canonicalJson } from '../canonical-json.ts';
import { openReport, verifyReport } from './document.ts';
import { signTest, testDocument, testReport } from './report-fixture.ts';
import { createSigningKey, readPublicKey, readSigningKey, type SigningKey } from './signing-key.ts';

let folder: string;
let key: SigningKey;
let other: SigningKey;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hv-report-'));
  key = await createSigningKey(join(folder, 'one.key'));
  other = await createSigningKey(join(folder, 'two.key'));
});
after(() => rm(folder, { recursive: true, force: true }));

const signed = () => {
  const { text, signature } = signTest(testDocument(testReport()), key);
  return { bytes: Buffer.from(text), signature: signature! };
};

const refused = (code: string) => (thrown: unknown) => thrown instanceof HelvinoError && thrown.code === code;

test('a record as it was signed – valid, and says by which key', () => {
  const { bytes, signature } = signed();
  const verified = verifyReport(bytes, { signature, keys: [other, key] });
  assert.equal(verified.key.id, key.id);
  assert.equal(verified.document.report.verdict, 'proven');
});

test('every byte of the record, changed in one bit – refused', () => {
  const { bytes, signature } = signed();
  for (let i = 0; i < bytes.length; i++) {
    const changed = Buffer.from(bytes);
    changed[i]! ^= 1 << (i % 8);
    assert.throws(() => verifyReport(changed, { signature, keys: [key] }), HelvinoError, `byte ${i}`);
  }
});

test('every byte of the signature, changed in one bit – refused', () => {
  const { bytes, signature } = signed();
  assert.equal(signature.length, 64);
  for (let i = 0; i < signature.length; i++) {
    const changed = Buffer.from(signature);
    changed[i]! ^= 1 << (i % 8);
    assert.throws(
      () => verifyReport(bytes, { signature: changed, keys: [key] }),
      refused('REPOSITORY_DAMAGED'),
      `byte ${i}`,
    );
  }
});

test('any change: bytes replaced, put in, taken out, put at the end – refused', () => {
  const { bytes, signature } = signed();
  fc.assert(
    fc.property(fc.nat(bytes.length), fc.nat(40), fc.uint8Array({ maxLength: 40 }), (at, removed, added) => {
      const changed = Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + removed)]);
      if (changed.equals(bytes)) return;
      assert.throws(() => verifyReport(changed, { signature, keys: [key] }), HelvinoError);
    }),
    { numRuns: 2000 },
  );
});

test('signature cut, or of nothing – refused', () => {
  const { bytes, signature } = signed();
  for (const bad of [
    signature.subarray(0, 63),
    Buffer.alloc(0),
    Buffer.alloc(64),
    Buffer.concat([signature, signature]),
  ])
    assert.throws(() => verifyReport(bytes, { signature: bad, keys: [key] }), refused('REPOSITORY_DAMAGED'));
});

test('signed by another key – refused, and the message says which key it names', () => {
  const { bytes, signature } = signed();
  assert.throws(
    () => verifyReport(bytes, { signature, keys: [other] }),
    (thrown) => refused('KEY_WRONG')(thrown) && (thrown as Error).message.includes(key.id.slice(0, 16)),
  );
});

test('signed by a key that it does not name – refused', () => {
  const { text } = signTest(testDocument(testReport()), key);
  const signature = other.sign(Buffer.from(text));
  assert.throws(
    () => verifyReport(Buffer.from(text), { signature, keys: [other] }),
    refused('REPOSITORY_DAMAGED'),
  );
});

test('something else that the key signed – no report', () => {
  for (const text of ['{}', '[]', 'null', '"x"', '', canonicalJson({ format: 'else' })]) {
    const signature = key.sign(Buffer.from(text));
    assert.throws(
      () => verifyReport(Buffer.from(text), { signature, keys: [key] }),
      refused('REPOSITORY_DAMAGED'),
      text,
    );
  }
});

test('the same values in another form – not canonical, refused even with a good signature', () => {
  const document = { ...testDocument(testReport()), key: key.id };
  const text = JSON.stringify(document, undefined, 1);
  assert.throws(() => openReport(text), refused('REPOSITORY_DAMAGED'));
  const signature = key.sign(Buffer.from(text));
  assert.throws(
    () => verifyReport(Buffer.from(text), { signature, keys: [key] }),
    refused('REPOSITORY_DAMAGED'),
  );
});

test('canonical JSON – the same for any order of members, and reads back as it was', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = canonicalJson(value);
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)));
      assert.equal(canonicalJson(JSON.parse(text)), text);
      assert.equal(canonicalJson(reversed(value)), text);
    }),
    { numRuns: 500 },
  );
  assert.equal(canonicalJson({ b: undefined, a: [1e21, '\u20ac', -0] }), '{"a":[1e+21,"€",0]}');
  for (const none of [Number.NaN, Number.POSITIVE_INFINITY, 1n]) assert.throws(() => canonicalJson(none));
});

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).map(([name, member]) => [name, reversed(member)] as const);
  return Object.fromEntries(members.reverse());
}

test('the key – on disk for its owner only, read back the same, never overwritten', async () => {
  const file = join(folder, 'one.key');
  assert.equal((await stat(file)).mode & 0o777, 0o600);
  assert.equal((await readSigningKey(file))?.id, key.id);
  assert.equal(await readSigningKey(join(folder, 'none.key')), undefined);
  await assert.rejects(createSigningKey(file), refused('KEY_MISSING'));
  assert.equal(readPublicKey(key.pem, 'x').id, key.id);
});

test('keys of another kind – refused with the reason', async () => {
  const file = join(folder, 'bad.key');
  await writeFile(file, 'no key');
  await assert.rejects(readSigningKey(file), refused('KEY_WRONG'));
  assert.throws(() => readPublicKey('no key', 'x'), refused('KEY_WRONG'));
  const { stdout } = await promisify(execFile)('openssl', ['genpkey', '-algorithm', 'X25519']);
  await writeFile(file, stdout);
  await assert.rejects(readSigningKey(file), /no Ed25519 key/);
  assert.throws(() => readPublicKey(stdout, 'x'), /private key/);
});

test('with OpenSSL alone – the record is valid, and not with one byte changed', async () => {
  const { bytes, signature } = signed();
  const [record, sig, pem] = ['r.json', 'r.sig', 'k.pem'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  await writeFile(record, bytes);
  await writeFile(sig, signature);
  await writeFile(pem, key.pem);
  const check = () =>
    promisify(execFile)('openssl', [
      'pkeyutl',
      '-verify',
      '-pubin',
      '-inkey',
      pem,
      '-rawin',
      '-in',
      record,
      '-sigfile',
      sig,
    ]);
  assert.match((await check()).stdout, /Signature Verified Successfully/);
  const changed = Buffer.from(bytes);
  changed[100]! ^= 1;
  await writeFile(record, changed);
  await assert.rejects(check());
});
