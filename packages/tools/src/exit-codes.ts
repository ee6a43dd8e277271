/** Exit codes, those of thin-provisioning-tools 1.x. Callers other than LVM test for zero only. */
export const SUCCESS = 0;
/** The command line cannot be understood. */
export const USAGE = 2;
/** Everything else that went wrong, a closed pipe included. */
export const FAILURE = 64;
