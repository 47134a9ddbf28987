/**
 * Keys and who can open them.
 * - The *catalog key* opens structure. It is on the host (a file or a variable) and, sealed, in the repository. It can be
 *   replaced: the host then holds a ring, newest first, and old structure stays readable.
 * - A *data key* is made for each run that writes and is forgotten after it; it is in the repository only, sealed to every
 *   recovery recipient (age, X25519: https://age-encryption.org/v1).
 * - A *recovery identity* opens both. It is kept elsewhere.
 */
import type { Encrypter } from 'age-encryption';
import { HelvinoError } from '../base/errors.ts';
import type { StorageDriver } from '../storage/index.ts';
import { ContentHasher, deriveKey, keyIdOf } from './crypto.ts';
import { descriptorName, sealingName } from './layout.ts';
import { readBack } from './read-back.ts';

/** Only what seals or opens keys waits for it. */
const loadAge = () => import('age-encryption');

const ringLine = /^helvino-catalog-key-1:([A-Za-z0-9_-]{43})$/;

/** The catalog keys of a repository, newest first. */
export interface CatalogRing {
  readonly current: Buffer;
  readonly currentId: string;
  /** Undefined when the ring lacks this key. */
  find(keyId: string): Buffer | undefined;
  readonly keys: readonly Buffer[];
  readonly ids: readonly string[];
}

export function catalogRing(keys: readonly Buffer[]): CatalogRing {
  const [current] = keys;
  if (current === undefined) throw new HelvinoError('KEY_MISSING', 'the catalog key is empty');
  const byId = new Map(keys.map((key) => [keyIdOf(key), key]));
  return {
    current,
    currentId: keyIdOf(current),
    find: (keyId) => byId.get(keyId),
    keys,
    ids: [...byId.keys()],
  };
}

/** Text form: one key a line, `helvino-catalog-key-1:<base64url>`; lines that begin with # are comments. */
export function formatCatalogRing(keys: readonly Uint8Array[]): string {
  return `${keys.map((key) => `helvino-catalog-key-1:${Buffer.from(key).toString('base64url')}`).join('\n')}\n`;
}

export function parseCatalogRing(text: string, place: string): CatalogRing {
  const keys: Buffer[] = [];
  for (const line of text.split('\n').map((raw) => raw.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    const match = ringLine.exec(line);
    if (!match?.[1]) {
      throw new HelvinoError('KEY_WRONG', `${place} does not hold a catalog key`, {
        hint: 'it should have lines that begin with helvino-catalog-key-1: ; `helvino key kit` tells how to get it back',
      });
    }
    keys.push(Buffer.from(match[1], 'base64url'));
  }
  if (keys.length === 0) throw new HelvinoError('KEY_MISSING', `${place} holds no catalog key`);
  return catalogRing(keys);
}

/** The key of the content hash: bound to one catalog key, since hashes are only compared under the same. */
export function contentHasherOf(catalogKey: Uint8Array): ContentHasher {
  return new ContentHasher(contentKeyOf(catalogKey));
}

export function contentKeyOf(catalogKey: Uint8Array): Buffer {
  return deriveKey(catalogKey, Buffer.alloc(0), 'content hash');
}

export async function createIdentity(): Promise<string> {
  const { generateX25519Identity } = await loadAge();
  return generateX25519Identity();
}

export async function recipientOf(identity: string): Promise<string> {
  const { identityToRecipient } = await loadAge();
  return identityToRecipient(identity);
}

export async function checkRecipient(recipient: string): Promise<void> {
  const { Encrypter } = await loadAge();
  try {
    new Encrypter().addRecipient(recipient);
  } catch (cause) {
    throw new HelvinoError('KEY_WRONG', `"${recipient}" is not an age recipient`, {
      cause,
      hint: 'a recipient begins with age1; `helvino key new` makes an identity and prints its recipient',
    });
  }
}

/** What opens sealed keys, and exports: one or more recovery identities. */
export interface Identities {
  open(sealed: Uint8Array): Promise<Uint8Array | undefined>;
  /**
   * An age file as a stream. Undefined when it was sealed to none of them; throws what is wrong with its header, and the stream
   * throws where its bytes were changed or end early.
   */
  openStream(sealed: ReadableStream<Uint8Array>): Promise<ReadableStream<Uint8Array> | undefined>;
  readonly recipients: readonly string[];
}

/** `text`: an age identity file: lines AGE-SECRET-KEY-1…, comments begin with #. */
export async function openIdentities(text: string, place: string): Promise<Identities> {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
  const { Decrypter, identityToRecipient } = await loadAge();
  const decrypter = new Decrypter();
  const recipients: string[] = [];
  try {
    for (const line of lines) {
      decrypter.addIdentity(line);
      recipients.push(await identityToRecipient(line));
    }
  } catch (cause) {
    throw new HelvinoError('KEY_WRONG', `${place} does not hold an age identity`, {
      cause,
      hint: 'a recovery identity is a line that begins with AGE-SECRET-KEY-1',
    });
  }
  if (recipients.length === 0) throw new HelvinoError('KEY_MISSING', `${place} holds no recovery identity`);
  return {
    recipients,
    async open(sealed) {
      try {
        return await allOf(await decrypter.decrypt(ReadableStream.from([sealed])));
      } catch {
        return undefined;
      }
    },
    async openStream(sealed) {
      let fits = true;
      const streaming = new Decrypter();
      for (const line of lines) streaming.addIdentity(line);
      // Asked last, so only when none of the others had an answer.
      streaming.addIdentity({
        unwrapFileKey: () => {
          fits = false;
          return null;
        },
      });
      try {
        return await streaming.decrypt(sealed);
      } catch (thrown) {
        if (fits) throw thrown;
        return undefined;
      }
    },
  };
}

/** Encrypts as `age -r RECIPIENT …` does, while it is read. */
export async function sealStream(
  plain: ReadableStream<Uint8Array>,
  recipients: readonly string[],
): Promise<ReadableStream<Uint8Array>> {
  const encrypter = await encrypterFor(recipients);
  return encrypter.encrypt(plain);
}

/** age's own way from bytes to bytes loads all that `fetch` needs, which takes longer than a key does. */
async function allOf(stream: ReadableStream<Uint8Array>): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of stream) parts.push(part);
  return Buffer.concat(parts);
}

async function encrypterFor(recipients: readonly string[]): Promise<Encrypter> {
  const { Encrypter } = await loadAge();
  const encrypter = new Encrypter();
  for (const recipient of recipients) {
    await checkRecipient(recipient);
    encrypter.addRecipient(recipient);
  }
  return encrypter;
}

export async function sealKey(
  driver: StorageDriver,
  {
    prefix,
    key,
    repositoryId,
    recipients,
  }: { prefix: string; key: Buffer; repositoryId: string; recipients: readonly string[] },
): Promise<string> {
  const keyId = keyIdOf(key);
  const encrypter = await encrypterFor(recipients);
  const body = JSON.stringify({ repository: repositoryId, keyId, key: key.toString('base64') });
  const sealed = await allOf(await encrypter.encrypt(ReadableStream.from([Buffer.from(body)])));
  const name = sealingName(prefix, keyId, recipients);
  try {
    await driver.put(name, [sealed], { ifAbsent: true });
    // Everything sealed under this key hangs on these few bytes.
    await readBack(driver, name, [sealed]);
  } catch (thrown) {
    // Sealed to the same set before: the object that is there serves.
    if (!(thrown instanceof HelvinoError && thrown.code === 'STORAGE_EXISTS')) throw thrown;
  }
  return keyId;
}

/** Where a key may be found, and what opens it. */
export interface KeyRequest {
  readonly prefix: string;
  readonly keyId: string;
  readonly repositoryId: string;
  readonly identities: Identities;
  /** Names of sealings to look at; without any those that are listed. */
  readonly sealings?: readonly string[] | undefined;
}

/**
 * A sealing that holds another key is passed over if there is one that holds the right one. Gives the name of the one that
 * opened, too. Throws KEY_WRONG when none of the identities opens any sealing of the key.
 */
export async function openKey(
  driver: StorageDriver,
  request: KeyRequest,
): Promise<{ key: Buffer; sealing: string }> {
  const { prefix, keyId, repositoryId, identities } = request;
  const names = [...(request.sealings ?? [])];
  if (request.sealings === undefined)
    for await (const { name } of driver.list(`${prefix}${keyId}/`)) names.push(name);
  let other: HelvinoError | undefined;
  for (const name of names) {
    const opened = await identities.open(await driver.get(name));
    if (opened === undefined) continue;
    const body = parseSealedKey(opened);
    if (body?.keyId === keyId && body.repository === repositoryId) return { key: body.key, sealing: name };
    other = otherKey(name, { body, keyId, repositoryId });
  }
  if (other !== undefined) throw other;
  if (names.length === 0) {
    throw new HelvinoError('STORAGE_NOT_FOUND', `the key ${prefix}${keyId} is missing from the repository`, {
      hint: 'without it the backups that use it cannot be restored; copy it back from another copy of the repository',
      context: { object: `${prefix}${keyId}`, keyId },
    });
  }
  throw new HelvinoError('KEY_WRONG', `the recovery identity given does not open the key ${prefix}${keyId}`, {
    hint: `the identity's recipient is ${identities.recipients.join(', ')}; give the one that belongs to a recipient of this repository`,
    context: { object: `${prefix}${keyId}`, keyId, sealings: names.length },
  });
}

/**
 * As `openKey`. Keys are sealed to the same set of recipients as a rule: `like`, a sealing that opened, spares asking which
 * there are.
 */
export async function openKeyLike(
  driver: StorageDriver,
  request: KeyRequest,
  like: string | undefined,
): Promise<{ key: Buffer; sealing: string }> {
  if (like === undefined) return openKey(driver, request);
  const name = `${request.prefix}${request.keyId}/${like.slice(like.lastIndexOf('/') + 1)}`;
  try {
    return await openKey(driver, { ...request, sealings: [name] });
  } catch (thrown) {
    const codes = ['STORAGE_NOT_FOUND', 'KEY_WRONG', 'REPOSITORY_DAMAGED'];
    if (!(thrown instanceof HelvinoError && codes.includes(thrown.code))) throw thrown;
    return openKey(driver, request);
  }
}

interface SealedKey {
  readonly repository: unknown;
  readonly keyId: string;
  readonly key: Buffer;
}

function parseSealedKey(opened: Uint8Array): SealedKey | undefined {
  try {
    const body = JSON.parse(Buffer.from(opened).toString('utf8')) as { repository?: unknown; key?: unknown };
    const key = Buffer.from(String(body.key), 'base64');
    return { repository: body.repository, keyId: keyIdOf(key), key };
  } catch {
    return undefined;
  }
}

/** A sealing that opens and is not what it should be: exchanged, or the descriptor was. */
function otherKey(
  name: string,
  { body, keyId, repositoryId }: { body: SealedKey | undefined; keyId: string; repositoryId: string },
): HelvinoError {
  const why =
    body?.keyId === keyId
      ? `belongs to the repository ${body.repository}, while ${descriptorName} says ${repositoryId}`
      : 'holds another key than its name says';
  return new HelvinoError('REPOSITORY_DAMAGED', `${name} ${why}`, {
    hint: 'copy both back from another copy of the repository',
    context: { object: name },
  });
}
