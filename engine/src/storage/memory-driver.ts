/** A store in memory: the shortest code that keeps the contract, and the reference that others are compared with. */
import { type Clock, systemClock } from '../base/clock.ts';
import { HelvinoError } from '../base/errors.ts';
import type { ByteRange, Capabilities, ObjectFacts, PutOptions, StorageDriver } from './driver.ts';
import { assertFits, assertObjectName, assertPrefix, assertRange } from './names.ts';

interface StoredObject {
  readonly bytes: Uint8Array;
  readonly modified: Date;
  retainUntil: Date | undefined;
}

/** `clock` dates the objects and ends their retention. */
export function openMemoryDriver(options: { readonly clock?: Clock } = {}): StorageDriver {
  return new MemoryDriver(options.clock ?? systemClock);
}

class MemoryDriver implements StorageDriver {
  readonly capabilities: Capabilities = { kind: 'memory', place: 'memory', retention: true };
  readonly #clock: Clock;
  readonly #objects = new Map<string, StoredObject>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  async put(name: string, body: readonly Uint8Array[], options: PutOptions): Promise<void> {
    assertObjectName(name);
    const old = this.#objects.get(name);
    if (this.#isFolder(name) || this.#isBelowObject(name)) {
      throw new HelvinoError('STORAGE_DENIED', `${name} in memory would be an object and a folder`, {
        hint: 'choose another name',
        context: { name },
      });
    }
    if (old !== undefined && options.ifAbsent) {
      throw new HelvinoError('STORAGE_EXISTS', `${name} exists in memory`, {
        hint: 'nothing is overwritten; choose another name',
        context: { name },
      });
    }
    if (old !== undefined) this.#assertNotRetained(name, old);
    const stored = {
      bytes: Buffer.concat(body),
      modified: this.#clock.now(),
      retainUntil: options.retainUntil,
    };
    this.#objects.set(name, stored);
  }

  async get(name: string, range?: ByteRange, into?: Uint8Array): Promise<Uint8Array> {
    assertObjectName(name);
    assertRange(name, range, into);
    const { bytes } = this.#find(name);
    const { offset, length } = range ?? { offset: 0, length: bytes.length };
    if (offset + length > bytes.length) {
      const message = `${name} in memory has ${bytes.length} bytes, but ${length} at ${offset} were asked for`;
      throw new HelvinoError('STORAGE_SHORT_READ', message, {
        context: { name, offset, length, size: bytes.length },
      });
    }
    const view = bytes.subarray(offset, offset + length);
    if (into === undefined) return Uint8Array.from(view);
    assertFits(name, length, into);
    into.set(view);
    return into.subarray(0, length);
  }

  async head(name: string): Promise<ObjectFacts | undefined> {
    assertObjectName(name);
    const object = this.#objects.get(name);
    return object && { name, size: object.bytes.length, modified: object.modified };
  }

  async *list(prefix: string): AsyncGenerator<ObjectFacts, void, void> {
    assertPrefix(prefix);
    const names = [...this.#objects.keys()].filter((name) => name.startsWith(prefix)).sort();
    for (const name of names) {
      const facts = await this.head(name);
      if (facts !== undefined) yield facts;
    }
  }

  async remove(name: string): Promise<void> {
    assertObjectName(name);
    const object = this.#objects.get(name);
    if (object === undefined) return;
    this.#assertNotRetained(name, object);
    this.#objects.delete(name);
  }

  async extendRetention(name: string, until: Date): Promise<void> {
    assertObjectName(name);
    const object = this.#find(name);
    if (object.retainUntil === undefined || object.retainUntil < until) object.retainUntil = until;
  }

  async now(): Promise<Date> {
    return this.#clock.now();
  }

  async close(): Promise<void> {}

  #find(name: string): StoredObject {
    const object = this.#objects.get(name);
    if (object !== undefined) return object;
    throw new HelvinoError('STORAGE_NOT_FOUND', `${name} is not in memory`, { context: { name } });
  }

  #assertNotRetained(name: string, object: StoredObject): void {
    if (object.retainUntil === undefined || object.retainUntil <= this.#clock.now()) return;
    throw new HelvinoError(
      'STORAGE_DENIED',
      `${name} is retained until ${object.retainUntil.toISOString()}`,
      {
        hint: 'wait until its retention has ended',
        context: { name, retainUntil: object.retainUntil },
      },
    );
  }

  #isFolder(name: string): boolean {
    return [...this.#objects.keys()].some((other) => other.startsWith(`${name}/`));
  }

  #isBelowObject(name: string): boolean {
    const parts = name.split('/');
    return parts.some((_, count) => count > 0 && this.#objects.has(parts.slice(0, count).join('/')));
  }
}
