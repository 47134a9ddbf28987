/** Keys: recipients, rotation, the recovery kit. */
export { changeFutureRecipients, changeRecipients, rotateCatalogKey } from './change-keys.ts';
export { renderKit } from './kit.ts';
export { programSource } from './program-source.ts';
