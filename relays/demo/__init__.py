"""The demo: a whole fabric in a throwaway home, and seven things that it promises, shown or checked one by one."""
