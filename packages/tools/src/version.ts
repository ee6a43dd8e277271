/**
 * Two versions, for two questions.
 *
 * `thin_check -V` and its kin are asked by LVM and by scripts, which want to know what the tool can do: they compare the
 * number with the release of thin-provisioning-tools that brought an option (LVM: thin_check 0.3.0 for
 * `--clear-needs-check-flag`, cache_check 0.7.0 for metadata format 2). So these print the release whose behaviour they
 * have, and nothing else. `pdata --version`, and commands that stand in for no other tool, print pdata's own.
 */

/** The release of thin-provisioning-tools whose options, output and exit codes the commands have. */
export const COMPATIBLE_VERSION = '1.1.0';
/** Version of this package; a test holds it equal to package.json. */
export const PDATA_VERSION = '0.1.0';
