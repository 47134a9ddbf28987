/**
 * Where the file system driver tells a test what it is about to do. Each point is called just before the step that it
 * names, so a crash at every point leaves every state that the driver can leave.
 */
export const fsPoints = [
  'root.make',
  'folder.make',
  'put.open',
  'put.write',
  'put.write-rest',
  'put.sync',
  'put.claim',
  'put.link',
  'put.rename',
  'put.unlink',
  'folder.sync',
  'folder.sync-parent',
  'put.done',
  'remove.unlink',
  'folder.remove',
  'remove.done',
] as const;

export type FsPoint = (typeof fsPoints)[number];

export interface FsHooks {
  point(name: FsPoint): void | Promise<void>;
}

export const noHooks: FsHooks = { point() {} };
