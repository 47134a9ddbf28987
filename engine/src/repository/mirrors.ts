/**
 * Several copies of one repository, written at once. The first is what is read; every object goes to the others, too, and is
 * read back there. A copy that fails is left behind from then on and gets nothing more: so a manifest never comes to a copy
 * that lacks what it names. What it missed, `helvino copy` brings.
 */
import { asHelvinoError, HelvinoError } from '../base/errors.ts';
import type { PutOptions, StorageDriver } from '../storage/index.ts';
import { leasesPrefix, manifestName, packsPrefix } from './layout.ts';
import { readBack } from './read-back.ts';
import type { Repository } from './repository.ts';

export interface CopyState {
  /** Its name in the configuration. */
  readonly name: string;
  readonly place: string;
  readonly state: 'current' | 'behind';
  /** Why it was left behind. */
  readonly why?: string;
}

interface Mirror {
  readonly name: string;
  readonly open: () => Promise<Repository>;
  /** Undefined when it could not be opened. */
  driver: StorageDriver | undefined;
  readonly place: string;
  why: string | undefined;
}

export class Mirrors {
  /** The repository, whose writes go to every copy. */
  readonly repository: Repository;
  readonly #first: StorageDriver;
  readonly #mirrors: readonly Mirror[];
  readonly #onBehind: (copy: CopyState) => void;

  /** `copies`: opened, or why not. They must be copies of the same repository. */
  constructor(
    repository: Repository,
    copies: readonly {
      readonly name: string;
      readonly place: string;
      readonly opened: Repository | HelvinoError;
      /** To try again later. */
      readonly open: () => Promise<Repository>;
    }[],
    onBehind: (copy: CopyState) => void,
  ) {
    this.#first = repository.driver;
    this.#onBehind = onBehind;
    this.#mirrors = copies.map(({ name, place, opened, open }) => {
      if (opened instanceof HelvinoError) return { name, place, open, driver: undefined, why: undefined };
      if (opened.id !== repository.id) throw otherRepository(name, place);
      return { name, place, open, driver: opened.driver, why: undefined };
    });
    this.repository = repository.on(this.#driver());
    for (const [index, { opened }] of copies.entries())
      if (opened instanceof HelvinoError) this.#leave(this.#mirrors[index]!, opened.message);
  }

  get states(): readonly CopyState[] {
    return this.#mirrors.map(stateOf);
  }

  /** An incremental needs its parent on every copy that it goes to. */
  async needBackup(database: string, id: string): Promise<void> {
    await this.#each(async (mirror, driver) => {
      if ((await driver.head(manifestName(database, id))) === undefined)
        this.#leave(mirror, `it lacks the backup ${id}, which this one builds on`);
    });
  }

  /**
   * Gives a copy that was left behind another chance: what is written from now on goes there. `catchUp` is given its driver,
   * and brings what it missed; if it fails, the copy is left behind again.
   */
  async rejoin(name: string, catchUp: (driver: StorageDriver) => Promise<void>): Promise<void> {
    const mirror = this.#mirrors.find((one) => one.name === name);
    if (mirror?.why === undefined) return;
    try {
      if (mirror.driver === undefined) {
        const opened = await mirror.open();
        if (opened.id !== this.repository.id) throw otherRepository(name, mirror.place);
        mirror.driver = opened.driver;
      }
      mirror.why = undefined;
      await catchUp(mirror.driver);
    } catch (thrown) {
      mirror.why = asHelvinoError(thrown).message;
    }
  }

  #leave(mirror: Mirror, why: string): void {
    if (mirror.why !== undefined) return;
    mirror.why = why;
    this.#onBehind(stateOf(mirror));
  }

  #driver(): StorageDriver {
    const first = this.#first;
    return {
      capabilities: this.#capabilities(),
      put: (name, body, how) => this.#put(name, body, how),
      get: (name, range, into) => first.get(name, range, into),
      head: (name) => first.head(name),
      list: (prefix) => first.list(prefix),
      remove: async (name) => {
        await first.remove(name);
        await this.#each(async (_, driver) => {
          try {
            await driver.remove(name);
          } catch (thrown) {
            // Credentials of a backup need not delete: leases and parts of WAL do no harm there. An old sealing would.
            const denied = thrown instanceof HelvinoError && thrown.code === 'STORAGE_DENIED';
            if (!denied || name.startsWith('keys/')) throw thrown;
          }
        });
      },
      extendRetention: async (name, until) => {
        await first.extendRetention(name, until);
        await this.#each((_, driver) => driver.extendRetention(name, until));
      },
      now: () => first.now(),
      close: async () => {
        await first.close();
        for (const { driver } of this.#mirrors) await driver?.close();
      },
    };
  }

  /** Locks are extended in every copy that has them, also when the first has none. */
  #capabilities(): StorageDriver['capabilities'] {
    const all = [this.#first, ...this.#mirrors.flatMap(({ driver }) => driver ?? [])];
    const keeps = all.flatMap(({ capabilities }) => capabilities.keepMs ?? []);
    const distant = all.some(({ capabilities }) => capabilities.distant);
    return {
      ...this.#first.capabilities,
      distant,
      keepMs: keeps.length > 0 ? Math.max(...keeps) : undefined,
    };
  }

  async #put(name: string, body: readonly Uint8Array[], how: PutOptions): Promise<void> {
    // Packs have random names and are large: all at once. All else comes to the others only once the first has it.
    const own = this.#first.put(name, body, how);
    const others = name.startsWith(packsPrefix) ? this.#putToOthers(name, body, how) : undefined;
    // The bytes must stay as they are until every copy is done with them.
    const [outcome] = await Promise.allSettled([own, others]);
    if (outcome.status === 'rejected') {
      if (isExisting(outcome.reason)) await this.#bring(name, how);
      throw outcome.reason;
    }
    if (others === undefined) await this.#putToOthers(name, body, how);
  }

  /** Stored earlier, perhaps by a run that died before the others had it. */
  async #bring(name: string, how: PutOptions): Promise<void> {
    let bytes: Uint8Array | undefined;
    await this.#each(async (_, driver) => {
      if ((await driver.head(name)) !== undefined) return;
      bytes ??= await this.#first.get(name);
      await putChecked(driver, name, [bytes], how);
    });
  }

  async #putToOthers(name: string, body: readonly Uint8Array[], how: PutOptions): Promise<void> {
    await this.#each((_, driver) => putChecked(driver, name, body, how));
  }

  /** What fails at a copy leaves the copy behind and does not stop the run. */
  async #each(work: (mirror: Mirror, driver: StorageDriver) => Promise<unknown>): Promise<void> {
    await Promise.all(
      this.#mirrors.map(async (mirror) => {
        if (mirror.driver === undefined || mirror.why !== undefined) return;
        try {
          await work(mirror, mirror.driver);
        } catch (thrown) {
          const error = asHelvinoError(thrown);
          this.#leave(mirror, error.message);
        }
      }),
    );
  }
}

async function putChecked(
  driver: StorageDriver,
  name: string,
  body: readonly Uint8Array[],
  how: PutOptions,
): Promise<void> {
  try {
    await driver.put(name, body, how);
  } catch (thrown) {
    // The same bytes may be there: brought by `helvino copy` meanwhile. Others are found below.
    if (!isExisting(thrown)) throw thrown;
  }
  if (!name.startsWith(leasesPrefix)) await readBack(driver, name, body);
}

function isExisting(thrown: unknown): boolean {
  return thrown instanceof HelvinoError && thrown.code === 'STORAGE_EXISTS';
}

function stateOf({ name, place, why }: Mirror): CopyState {
  return why === undefined ? { name, place, state: 'current' } : { name, place, state: 'behind', why };
}

function otherRepository(name: string, place: string): HelvinoError {
  return new HelvinoError(
    'CONFIG_INVALID',
    `${name} (${place}) is another repository, not a copy of this one`,
    {
      hint: 'a copy is made by `helvino copy` in an empty place; give this one another place, or take it out of `copies`',
    },
  );
}
