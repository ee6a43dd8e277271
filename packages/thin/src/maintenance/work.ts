/** What long pieces of maintenance take besides their input: the same as everywhere below. */
export type { Progress, WorkOptions } from '@pdata/persistent-data';
