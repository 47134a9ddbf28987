import type { Clock } from '../base/clock.ts';
import { backupId } from '../base/ids.ts';
import type { Repository } from '../repository/index.ts';

/**
 * By the store's clock, which is one for all hosts: `latest` must be the latest, also where a host's clock was wrong for a
 * while. A store tells whole seconds; the milliseconds of this host part backups of one second.
 */
export async function newBackupId(repository: Repository, clock: Clock): Promise<string> {
  const now = await repository.driver.now();
  return backupId(
    new Date(now.getTime() + (now.getMilliseconds() === 0 ? clock.now().getMilliseconds() : 0)),
  );
}
