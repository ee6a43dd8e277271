#!/usr/bin/env node
import { main } from '../dist/main.js';

process.exitCode = await main(['clone_repair', ...process.argv.slice(2)]);
