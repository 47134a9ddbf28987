import { formatBytes } from '../../base/format.ts';
import { listBackups } from '../../operations/index.ts';
import { chosenManifest, databaseOption, openAsHost } from '../open.ts';
import { textOption, type Verb } from '../verb.ts';

export const removeVerb: Verb = {
  name: 'remove',
  summary: 'remove one backup; its space comes back with `helvino collect`',
  arguments: [{ name: '<backup>', description: 'id, or the beginning of one' }],
  options: [
    databaseOption,
    { flags: '--dry-run', description: 'only say what would be removed' },
    { flags: '--confirm <backup>', description: 'the full id, instead of typing it' },
  ],
  examples: ['helvino remove 20261125T120302Z-9f3a01bc --dry-run'],
  async run(context, options, [wanted]) {
    const host = await openAsHost(context, options);
    const access = {
      repository: host.repositoryHandle,
      identities: undefined,
      database: host.name,
      chosen: host,
      loaded: host.loaded,
    };
    const manifest = await chosenManifest(access, wanted);
    const others = (await listBackups(host.repositoryHandle, host.name)).filter((b) => b.id !== manifest.id);
    const kept = new Set(others.flatMap((b) => b.manifest?.packs.map((pack) => pack.id) ?? []));
    const bytes = manifest.packs
      .filter((pack) => !kept.has(pack.id))
      .reduce((sum, pack) => sum + pack.size, 0);
    const lastProven =
      others.every((b) => b.proof?.verdict !== 'proven') &&
      (await host.repositoryHandle.proofs(manifest.id)).length > 0;
    const what = `Remove backup ${manifest.id} of ${host.name} (${formatBytes(bytes)} become free${others.length === 0 ? '; it is the LAST backup' : ''}${lastProven ? '; no other backup is proven' : ''})`;
    const data = {
      backup: manifest.id,
      database: host.name,
      frees: bytes,
      last: others.length === 0,
      lastProven,
    };
    if (options.dryRun) return { data: { ...data, removed: false }, text: [what, 'nothing was done'] };
    await context.confirm(what, manifest.id, textOption(options, 'confirm'));
    await host.repositoryHandle.remove(host.name, manifest.id);
    return {
      data: { ...data, removed: true },
      text: [
        `backup ${manifest.id} was removed; \`helvino collect --apply\` frees its ${formatBytes(bytes)}`,
      ],
    };
  },
};
