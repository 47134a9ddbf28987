/** Object lock: how long what is needed stays undeletable. */
export { extendLocks } from './extend-lock.ts';
