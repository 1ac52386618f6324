"""`python -m kybern.runtime.warden --socket PATH --state-dir PATH [--keeper PATH]`"""

from kybern.runtime.warden.launch import main

main()
