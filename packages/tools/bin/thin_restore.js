#!/usr/bin/env node
import { main } from '../dist/main.js';

process.exitCode = await main(['thin_restore', ...process.argv.slice(2)]);
