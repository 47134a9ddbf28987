import { configWarnings } from '../../config/index.ts';
import { surroundingsOf } from '../../operations/index.ts';
import { checkClock, checkProofs, checkServer, checkStore } from '../../operations/setup/index.ts';
import { checkContainers } from '../../operations/volume/index.ts';
import { defaultSlot, storedClusters, streamConnection } from '../../operations/wal/index.ts';
import { copyOption, databaseOption, openAsHost } from '../open.ts';
import { findingsText } from '../output/findings-text.ts';
import type { Verb } from '../verb.ts';

export const doctorVerb: Verb = {
  name: 'doctor',
  summary: 'check the configuration, the keys, the repository and the server, and say what is missing',
  details: [
    'In a bucket on S3 it makes a probe object and tries to overwrite and to delete it: what the credentials can do, a thief of them can.',
  ],
  options: [databaseOption, copyOption],
  examples: ['helvino doctor'],
  exits: [{ status: 1, meaning: 'something is missing' }],
  async run(context, options) {
    const host = await openAsHost(context, options);
    const backups = await host.repositoryHandle.backups(host.name);
    const { place } = host.repositoryHandle.driver.capabilities;
    const own = {
      name: 'repository',
      state: 'good' as const,
      detail: `${place}, ${backups.length} backups of ${host.name}`,
    };
    const connection = await host.connection();
    const slot = host.database.wal.slot ?? defaultSlot(host.name);
    const { applicationName } = streamConnection(connection, slot);
    const clusters = await storedClusters(host.repositoryHandle, host.name);
    const check = await checkServer(connection, { slot, streamName: applicationName }, clusters);
    const store = await checkStore(host.repository.storage, surroundingsOf(host.loaded, context.env));
    const proofs = await checkProofs({
      repository: host.repositoryHandle,
      database: host.name,
      loaded: host.loaded,
      now: await host.repositoryHandle.driver.now(),
    });
    const containers = await checkContainers(host.repositoryHandle, host.name, {
      engine: host.database.volume.engine,
      env: context.env,
    });
    const time = await checkClock(host.repositoryHandle, context.clock);
    const configuration = configWarnings(host.loaded.config).map(({ path, problem, hint }) => ({
      name: 'configuration',
      state: 'advice' as const,
      detail: `${path} ${problem}`,
      hint,
    }));
    const findings = [own, time, ...configuration, ...proofs, ...store, ...containers, ...check.findings];
    const ready = check.ready && containers.length === 0;
    return { data: { ...check, ready, findings }, text: findingsText(findings), exit: ready ? 0 : 1 };
  },
};
