/** Tests of rights as another user than root. */

export const isRoot = process.getuid?.() === 0;

/**
 * Runs `work`, with the whole process, as a user of one group who is not root. Tests that do not run as root are somebody else already:
 * they stay that.
 */
export async function asUser<Result>(
  { uid, gid }: { readonly uid: number; readonly gid: number },
  work: () => Promise<Result>,
): Promise<Result> {
  if (!isRoot) return work();
  const groups = process.getgroups!();
  process.setgroups!([gid]);
  process.setegid!(gid);
  process.seteuid!(uid);
  try {
    return await work();
  } finally {
    process.seteuid!(0);
    process.setegid!(0);
    process.setgroups!(groups);
  }
}
