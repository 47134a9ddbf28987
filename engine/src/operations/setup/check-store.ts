/** Looks at the store with the eyes of someone who has stolen the credentials of backups. */
import type { RepositoryConfig } from '../../config/index.ts';
import { loadS3, type S3Rights } from '../../storage/index.ts';
import { type Surroundings, s3OptionsOf } from '../open.ts';
import type { Finding } from './check-server.ts';

const page = 'docs/operations/object-lock.md tells how';

/** Nothing is said of a folder: whoever runs Helvino there may do anything with it. */
export async function checkStore(
  storage: RepositoryConfig['storage'],
  surroundings: Surroundings,
): Promise<Finding[]> {
  if (storage.type !== 's3' || storage.versions === 'first') return [];
  const { probeS3 } = await loadS3();
  const rights = await probeS3(await s3OptionsOf(storage, surroundings));
  return [{ name: 'stolen credentials', ...judge(rights) }];
}

function judge({ overwrite, remove, locked }: S3Rights): Pick<Finding, 'state' | 'detail' | 'hint'> {
  const of = (what: 'hidden' | 'destroyed') =>
    [...(remove === what ? ['delete'] : []), ...(overwrite === what ? ['overwrite'] : [])].join(' and ');
  if (of('destroyed') !== '') {
    return {
      state: 'advice',
      detail: `whoever has these credentials could ${of('destroyed')} what is stored (tried on a probe)`,
      hint: `use credentials that may not, and a bucket with object lock: ${page}`,
    };
  }
  const lock = locked ? ', which is locked' : '';
  if (of('hidden') === '')
    return { state: 'good', detail: `could neither delete nor overwrite anything${lock} (tried on a probe)` };
  return {
    state: 'good',
    detail: `could ${of('hidden')} what is stored${lock}, but not destroy it: the first versions stay (tried on a probe)`,
  };
}
