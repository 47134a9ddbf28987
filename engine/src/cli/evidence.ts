/** What verbs that make or show evidence begin with: the signing key of this host. */
import { HelvinoError } from '../base/errors.ts';
import { type EvidenceOptions, readSigningKey, signingKeyFile } from '../operations/drill/report/index.ts';
import type { CliContext } from './context.ts';
import type { ReadAccess } from './open.ts';

/** For a drill: its report is signed where this host has a key. A key that cannot be used is said, and keeps no drill from running. */
export async function evidenceOf(
  context: CliContext,
  { loaded, chosen }: Pick<ReadAccess, 'loaded' | 'chosen'>,
): Promise<EvidenceOptions> {
  if (!loaded || !chosen) return {};
  const cadenceSeconds = chosen.database.health.drillEvery;
  const configured = { config: loaded.config, chosen };
  try {
    const key = await readSigningKey(signingKeyFile(loaded.file));
    if (!key)
      context.progress.note('warn', 'the report will not be signed: `helvino drill key` makes the key');
    return { cadenceSeconds, configured, key };
  } catch (thrown) {
    if (!(thrown instanceof HelvinoError)) throw thrown;
    context.progress.note('warn', `the report will not be signed: ${thrown.message}`);
    return { cadenceSeconds, configured };
  }
}
