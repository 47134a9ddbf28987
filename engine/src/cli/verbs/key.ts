import { writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { cannotWrite, HelvinoError } from '../../base/errors.ts';
import { refuseExisting } from '../../base/refuse-existing.ts';
import { listBackups } from '../../operations/index.ts';
import {
  changeFutureRecipients,
  changeRecipients,
  programSource,
  renderKit,
  rotateCatalogKey,
} from '../../operations/keys/index.ts';
import {
  createIdentity,
  formatCatalogRing,
  type Mirrors,
  planReseal,
  type Repository,
  recipientOf,
} from '../../repository/index.ts';
import type { CliContext } from '../context.ts';
import { copiesExit } from '../copies.ts';
import {
  databaseOption,
  identitiesOf,
  identityOption,
  neededIdentities,
  openAsHost,
  openToRead,
  repositoryOption,
} from '../open.ts';
import { type OptionValues, textOption, type Verb } from '../verb.ts';

interface KeyAccess {
  readonly repository: Repository;
  readonly file: string;
  /** The repository and its copies, by their names in helvino.yaml. */
  readonly repositoryNames: readonly string[];
  readonly mirrors: Mirrors | undefined;
  readonly recipients: readonly string[];
  readonly directory: string;
  readonly catalogKeyFile: string | undefined;
}

/** Keys are changed in every copy: an old sealing that stays in one would still open. */
async function openKeys(context: CliContext, options: OptionValues): Promise<KeyAccess> {
  const host = await openAsHost(context, options, { everywhere: true });
  const { loaded, mirrors, repositoryHandle: repository } = host;
  const { catalogKey, recipients } = host.repository;
  const catalogKeyFile = 'file' in catalogKey ? resolve(loaded.directory, catalogKey.file) : undefined;
  return {
    repository,
    file: loaded.file,
    repositoryNames: [host.repositoryName, ...host.others.map(({ name }) => name)],
    mirrors,
    recipients,
    directory: loaded.directory,
    catalogKeyFile,
  };
}

const newKey: Verb = {
  name: 'key new',
  summary: 'make a recovery identity',
  details: ['Prints it, or writes it to a file. Run this where the identity is to be kept, not on the host.'],
  options: [{ flags: '-o, --output <file>', description: 'write it there (mode 0600)' }],
  examples: ['helvino key new --output identity.txt'],
  async run(context, options) {
    const identity = await createIdentity();
    const recipient = await recipientOf(identity);
    const output = textOption(options, 'output');
    if (output === undefined)
      return { data: { identity, recipient }, text: [`# recipient: ${recipient}`, identity] };
    await writeNew(resolve(context.cwd, output), `# recipient: ${recipient}\n${identity}\n`);
    return { data: { file: output, recipient }, text: [`wrote ${output}`, `recipient: ${recipient}`] };
  },
};

async function writeNew(file: string, text: string): Promise<void> {
  await refuseExisting(file, 'file');
  try {
    await writeFile(file, text, { mode: 0o600, flag: 'wx' });
  } catch (cause) {
    throw cannotWrite(file, cause, 'choose a file in a folder that is there and that you may write to');
  }
}

const list: Verb = {
  name: 'key list',
  summary: 'show who can restore, and how many keys there are',
  options: [databaseOption],
  examples: ['helvino key list'],
  async run(context, options) {
    const access = await openKeys(context, options);
    const { keys, obsolete } = await planReseal(access.repository, access.recipients);
    const data = {
      recipients: access.recipients,
      catalogKeys: access.repository.ring.ids,
      dataKeys: (await access.repository.sealedKeys('data')).size,
      toSeal: keys,
      obsolete: obsolete.length,
    };
    return {
      data,
      text: [
        ...access.recipients.map((recipient) => `recipient    ${recipient}`),
        ...data.catalogKeys.map((id) => `catalog key  ${id}`),
        `data keys    ${data.dataKeys}`,
        keys + obsolete.length === 0
          ? 'every key is sealed to exactly these recipients'
          : `${keys} keys are not yet sealed to exactly these recipients: run \`helvino key add\` or \`key remove\` with --identity`,
      ],
    };
  },
};

const add: Verb = {
  name: 'key add',
  summary: 'add a recipient: who can restore',
  details: [
    'With the recovery identity every old backup is opened to the new recipient, too; without it only backups made from now on.',
  ],
  arguments: [{ name: '<recipient>', description: 'an age recipient: age1...' }],
  options: [
    databaseOption,
    identityOption,
    { flags: '--future-only', description: 'only backups made from now on; needs no identity' },
    { flags: '--dry-run', description: 'only say what would be done' },
  ],
  examples: ['helvino key add age1... --identity identity.txt'],
  run: (context, options, [recipient = '']) =>
    change(
      context,
      options,
      (recipients) => (recipients.includes(recipient) ? recipients : [...recipients, recipient]),
      { recipient, can: true },
    ),
};

const remove: Verb = {
  name: 'key remove',
  summary: 'remove a recipient',
  details: [
    'Old backups are sealed anew without it. Whoever kept a copy of the old sealed keys can still open those backups.',
  ],
  arguments: [{ name: '<recipient>', description: 'the recipient to remove' }],
  options: [
    databaseOption,
    identityOption,
    { flags: '--future-only', description: 'only backups made from now on; needs no identity' },
    { flags: '--dry-run', description: 'only say what would be done' },
    { flags: '--confirm <recipient>', description: 'the recipient again, instead of typing it' },
  ],
  examples: ['helvino key remove age1... --identity identity.txt'],
  async run(context, options, [recipient = '']) {
    const { recipients } = await openKeys(context, options);
    if (!recipients.includes(recipient))
      throw new HelvinoError('USAGE', `${recipient} is not a recipient`, {
        hint: '`helvino key list` shows them',
      });
    if (!options.dryRun)
      await context.confirm(`Remove the recipient ${recipient}`, recipient, textOption(options, 'confirm'));
    return change(context, options, (present) => present.filter((r) => r !== recipient), {
      recipient,
      can: false,
    });
  },
};

/** `helvino copy` removes nothing: a copy that is away now would keep the old sealings for good. */
function assertCopiesThere(mirrors: Mirrors | undefined): void {
  const away = mirrors?.states.find(({ state }) => state === 'behind');
  if (!away) return;
  throw new HelvinoError('STORAGE_UNAVAILABLE', `the copy ${away.name} cannot be changed now: ${away.why}`, {
    hint: 'keys are changed in every copy at once: try again when it is back, or take it out of `copies`',
  });
}

/** What broke meanwhile. */
function keysBehind(mirrors: Mirrors | undefined): string[] {
  return (mirrors?.states ?? []).flatMap(({ name, state, why }) =>
    state === 'current'
      ? []
      : [
          `NOT in the copy ${name} (${why}): there old recipients still open everything: empty its place and make it anew with helvino copy`,
        ],
  );
}

async function change(
  context: CliContext,
  options: OptionValues,
  next: (recipients: readonly string[]) => readonly string[],
  { recipient, can }: { readonly recipient: string; readonly can: boolean },
) {
  const access = await openKeys(context, options);
  const recipients = next(access.recipients);
  const plan = await planReseal(access.repository, recipients);
  const request = { ...access, recipients };
  if (options.dryRun)
    return {
      data: { applied: false, recipients, ...plan },
      text: [
        `${plan.keys} keys would be sealed anew, ${plan.obsolete.length} old sealings removed; nothing was done`,
      ],
    };
  if (options.futureOnly) {
    await changeFutureRecipients(request);
    return {
      data: { applied: true, futureOnly: true, recipients },
      text: [
        `backups made from now on: ${recipient} ${can ? 'can' : 'cannot'} restore them`,
        'old backups stay as they are',
      ],
    };
  }
  assertCopiesThere(access.mirrors);
  await changeRecipients(request, await neededIdentities(context, options));
  return {
    data: { applied: true, recipients, ...plan, copies: access.mirrors?.states },
    text: [
      `${plan.keys} keys were sealed anew; ${recipient} ${can ? 'can restore every backup' : 'can restore none any more'}`,
      ...keysBehind(access.mirrors),
    ],
    exit: copiesExit(access.mirrors),
  };
}

const rotate: Verb = {
  name: 'key rotate',
  summary: 'replace the recovery identity, or with --catalog the catalog key',
  details: [
    'A new identity takes the place of the one given: every key is sealed to it, and the old one opens nothing any more.',
    'With --catalog this host gets a new catalog key; old structure stays readable, and the next backup is a full one.',
  ],
  options: [
    databaseOption,
    identityOption,
    {
      flags: '-o, --output <file>',
      description: 'where the new identity is written',
      default: 'helvino-recovery-identity.new.txt',
    },
    { flags: '--catalog', description: 'replace the catalog key instead' },
  ],
  examples: ['helvino key rotate --identity old.txt --output new.txt', 'helvino key rotate --catalog'],
  async run(context, options) {
    const access = await openKeys(context, options);
    assertCopiesThere(access.mirrors);
    if (options.catalog) {
      if (access.catalogKeyFile === undefined)
        throw new HelvinoError(
          'USAGE',
          'the catalog key is in an environment variable, which cannot be changed from here',
          { hint: 'use a file for catalogKey' },
        );
      const keyId = await rotateCatalogKey(access, access.catalogKeyFile);
      return {
        data: { catalogKey: keyId, file: access.catalogKeyFile },
        text: [`catalog key ${keyId} is in ${access.catalogKeyFile}; the next backup is a full one`],
      };
    }
    const identities = await neededIdentities(context, options);
    const output = resolve(context.cwd, textOption(options, 'output') ?? 'helvino-recovery-identity.new.txt');
    const identity = await createIdentity();
    const recipient = await recipientOf(identity);
    // On disk before anything is sealed to it.
    await writeNew(
      output,
      `# Helvino recovery identity. Keep it off this host.\n# recipient: ${recipient}\n${identity}\n`,
    );
    const kept = access.recipients.filter((r) => !identities.recipients.includes(r));
    const plan = await changeRecipients({ ...access, recipients: [...kept, recipient] }, identities);
    return {
      data: { recipient, file: output, ...plan, copies: access.mirrors?.states },
      text: [
        `wrote ${output}`,
        `${plan.keys} keys were sealed to ${recipient}; the old identity opens nothing any more: print a new page with helvino key kit, and destroy the old one`,
        ...keysBehind(access.mirrors),
      ],
      exit: copiesExit(access.mirrors),
    };
  },
};

const kit: Verb = {
  name: 'key kit',
  summary: 'make the recovery kit: a page to print, with what is needed when nothing else is left',
  options: [
    databaseOption,
    identityOption,
    repositoryOption,
    {
      flags: '-o, --output <file>',
      description: 'where it is written',
      default: 'helvino-recovery-kit.html',
    },
    { flags: '--with-identity', description: 'print the recovery identity itself on it' },
    {
      flags: '--source <where>',
      description:
        'where Helvino is to be had from: a git address, or the file of its package (default: where this checkout came from)',
    },
  ],
  examples: [
    'helvino key kit',
    'helvino key kit --with-identity --identity identity.txt --output /media/usb/kit.html',
  ],
  async run(context, options) {
    const access = await openToRead(context, options, { all: true });
    const identity = options.withIdentity ? await identityText(context, options) : undefined;
    const backups = await listBackups(access.repository);
    const databases = [...new Set(backups.map((b) => b.database))].map((name) => {
      const own = backups.filter((b) => b.database === name);
      const newest = own.at(-1)?.manifest;
      return {
        name,
        backups: own.length,
        newest: newest?.finished,
        postgres: own.map((b) => b.manifest?.facts.serverVersionText).findLast((v) => typeof v === 'string'),
      };
    });
    const recipients =
      access.chosen?.repository.recipients ??
      Object.values(access.loaded?.config.repositories ?? {})[0]?.recipients ??
      access.identities?.recipients ??
      [];
    const output = resolve(context.cwd, textOption(options, 'output') ?? 'helvino-recovery-kit.html');
    const { repository, clock, program } = { ...context, repository: access.repository };
    await writeNew(
      output,
      renderKit({
        made: clock.now().toISOString(),
        repositoryId: repository.id,
        place: repository.driver.capabilities.place,
        format: 1,
        recipients,
        catalogKeyIds: repository.ring.ids,
        databases,
        identity,
        program,
        source: textOption(options, 'source') ?? (await programSource(import.meta.filename)),
      }),
    );
    return {
      data: { file: output, withIdentity: identity !== undefined },
      text: [`wrote ${output}: print it, and keep it where neither this host nor the repository is`],
    };
  },
};

async function identityText(context: CliContext, options: OptionValues): Promise<string> {
  await neededIdentities(context, options);
  const { readFile } = await import('node:fs/promises');
  const file = textOption(options, 'identity') ?? context.env.HELVINO_IDENTITY_FILE;
  const text =
    file === undefined
      ? (context.env.HELVINO_IDENTITY ?? '')
      : await readFile(resolve(context.cwd, file), 'utf8');
  return text
    .split('\n')
    .filter((line) => line.startsWith('AGE-SECRET-KEY-'))
    .join('\n');
}

const catalog: Verb = {
  name: 'key catalog',
  summary: 'print the catalog key, recovered with the recovery identity',
  options: [databaseOption, identityOption, repositoryOption],
  examples: ['helvino key catalog --repository-path /mnt/copy --identity identity.txt > helvino.catalog.key'],
  async run(context, options) {
    if (!(await identitiesOf(context, options))) await neededIdentities(context, options);
    const { repository } = await openToRead(context, options, { all: true });
    const text = formatCatalogRing(repository.ring.keys).trimEnd();
    return { data: { catalogKeys: text.split('\n') }, text: text.split('\n') };
  },
};

export const keyVerbs: readonly Verb[] = [newKey, list, add, remove, rotate, kit, catalog];
