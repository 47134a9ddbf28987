/** What the door loads on demand. */
export { S3Archive } from './s3-archive.ts';
export { openS3Driver } from './s3-driver.ts';
export { firstVersionsOf } from './s3-first-versions.ts';
export { probeS3 } from './s3-probe.ts';
